"""The file itself: the header by the gguf package, then gigabytes of blocks, hashed as they go."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.bench.calibration import WORDS
from orchestrator.gguf.layout import layout
from orchestrator.gguf.types import Tensor, stored_bytes
from orchestrator.model import DEFAULT_RULE, Architecture
from orchestrator.standin.blocks import Tape
from orchestrator.standin.metadata import describe, describe_tokenizer, refuse
from orchestrator.standin.vocabulary import CONTROLS, Vocabulary, vocabulary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ALIGNMENT = 32
_HEADER_BYTES_A_TOKEN = 64  # its text, its type and its merge, each with a length
_HEADER_BYTES_A_TENSOR = 128
# Against weights of this size (times 1/sqrt(columns)) a layer adds a few hundredths to what the
# embedding says of a token. So each token leads to another one, and hardly ever to itself: a
# server ends a stream after 30 equal tokens.
_EMBEDDING_DEVIATION = 3.0
_WEIGHT_DEVIATION = 0.4
_MATRIX = 2

Report = Callable[[int, int], None]
"""Hears how many bytes are written, of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A stand-in on disk; `digest` is "sha256:…" of the whole file."""

    digest: str
    file_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIn:
    """A file to be written: its shape, its quantization, and the kind of build that it repeats.

    Raises InvalidInput: no stand-in of this architecture or quantization is known.
    """

    shape: Architecture
    quantization: str
    rule: str = DEFAULT_RULE
    tensors: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        refuse(self.shape)
        object.__setattr__(self, "tensors", layout(self.shape, self.quantization, self.rule))

    @property
    def tensor_bytes(self) -> int:
        """Bytes from the first tensor to the end of the last, with the gaps between them."""
        return sum(stored_bytes(t.type, prod(t.shape)) for t in self.tensors) - self._gap(-1)

    @property
    def needed_bytes(self) -> int:
        """Bytes that the file takes at most."""
        header = _HEADER_BYTES_A_TOKEN * self.shape.vocab_size
        return self.tensor_bytes + header + _HEADER_BYTES_A_TENSOR * len(self.tensors) + 4096

    def write(self, path: Path, report: Report = lambda _done, _total: None) -> Written:
        """Write the file to `path`; memory stays below some 100 MB, whatever its size.

        Raises OSError: the disk is full, or not ours to write.
        """
        self._write_header(path, vocabulary(self.shape.vocab_size, WORDS))
        with path.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256")
            written = file.tell()
            gap = -written % _ALIGNMENT
            total = written + gap + self.tensor_bytes
            for part in chain([bytes(gap)], self._data()):
                digest.update(part)
                file.write(part)
                written += len(part)
                report(written, total)
        return Written(digest=f"sha256:{digest.hexdigest()}", file_bytes=written)

    def _write_header(self, path: Path, words: Vocabulary) -> None:
        import gguf
        import numpy as np

        writer = gguf.GGUFWriter(path, self.shape.name)
        describe(writer, self.shape, self.quantization)
        describe_tokenizer(writer, words)
        for tensor in self.tensors:
            kind = gguf.GGMLQuantizationType[tensor.type]
            # The type given beside the numpy one stands as it is; the latter is not looked at.
            writer.add_tensor_info(
                tensor.name,
                tensor.shape[::-1],
                np.dtype(np.float32),
                tensor.size_bytes,
                raw_dtype=kind,
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()

    def _data(self) -> Iterator[memoryview | bytes]:
        """Yield the tensors, with what fills the gaps between them.

        After the last one there is no gap: a server that reads up to the end of its tensors must
        find the end of the file there, or it copies all of it.
        """
        tapes: dict[tuple[str, float], Tape] = {}
        for i, tensor in enumerate(self.tensors):
            if i:
                yield bytes(self._gap(i - 1))
            yield from self._weights(tensor, tapes)

    def _gap(self, index: int) -> int:
        return -self.tensors[index].size_bytes % _ALIGNMENT

    def _weights(
        self, tensor: Tensor, tapes: dict[tuple[str, float], Tape]
    ) -> Iterator[memoryview | bytes]:
        if len(tensor.shape) < _MATRIX:
            yield self._vector(tensor).tobytes()
            return
        deviation = _EMBEDDING_DEVIATION
        if tensor.name != "token_embd.weight":
            deviation = _WEIGHT_DEVIATION / float(self.shape.embedding_length) ** 0.5
        key = tensor.type, deviation
        tape = tapes.get(key) or tapes.setdefault(key, Tape(*key))
        silent = self._silent_bytes(tensor)
        yield from tape.read(tensor.size_bytes - silent)
        yield bytes(silent)

    def _silent_bytes(self, tensor: Tensor) -> int:
        """Return the bytes of the last rows of the output matrix: an end of text is never likely.

        They are zero, scales and all, and so is what they multiply to.
        """
        output = "token_embd.weight" if self.shape.tied_embeddings else "output.weight"
        if tensor.name != output:
            return 0
        return tensor.size_bytes // self.shape.vocab_size * CONTROLS

    def _vector(self, tensor: Tensor) -> "npt.NDArray[np.float32]":
        """Return a norm, a bias or a factor: what changes nothing.

        But the last norm has random signs: with tied embeddings each token would lead to itself.
        """
        import numpy as np

        if tensor.name == "output_norm.weight":
            signs = np.random.default_rng(13).random(tensor.shape[0]) < 0.5
            return np.where(signs, -1.0, 1.0).astype(np.float32)
        value = 0.0 if tensor.name.endswith(".bias") else 1.0
        return np.full(tensor.shape[0], value, np.float32)
