"""Read the header of a GGUF file within bounds; of long arrays only the length is kept.

Layout (ggml/docs/gguf.md): magic, version, tensor count, key count, the keys, the tensor table.
A hostile file costs at most `LIMIT_BYTES` of reading, as much memory, and one clear error.
"""

import struct
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

from orchestrator.errors import InvalidInput
from orchestrator.gguf.types import Tensor, type_name

LIMIT_BYTES = 64 * 1024**2
_MAX_ENTRIES = 65_536
_MAX_STRING = 1024**2
_MAX_STRINGS = 1024**2  # a vocabulary has up to 262,144 entries
_KEPT_NUMBERS = 1024  # one a layer: head counts of unlike layers
_MAX_DIMENSIONS = 4
_MAX_ALIGNMENT = 1024**2
_SKIP_BYTES = 256 * 1024
# What a kept value takes in memory at most: an entry with its objects, a number in a list, and a
# character, of which one byte of the file can make one.
_ENTRY_BYTES, _NUMBER_BYTES, _CHARACTER_BYTES = 512, 56, 4
_MOST_TENSOR_BYTES = 2**50  # a thousand times the largest file of today
_AGAIN = "the file is damaged, or was not written by llama.cpp's tools: fetch it again"
_NO_GGUF = "name the .gguf file itself; safetensors are read as hf:ORG/REPO"
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i",
    6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_COUNT = struct.Struct("<Q")


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayLength:
    """Stands for an array value that was skipped: strings, or many numbers."""

    length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Metadata and tensor table of one file.

    `size_bytes` is where the table ends; `file_bytes` where the data of the last tensor of a known
    type does: a file that is shorter is cut.
    """

    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    size_bytes: int
    file_bytes: int = 0


def _bad(what: str) -> InvalidInput:
    return InvalidInput(f"GGUF header: {what}", hint=_AGAIN)


def _text(data: bytes) -> str:
    """Return bytes as a person reads them: letters in quotes, anything else in hex."""
    return f'"{data.decode()}"' if data.isalnum() else f"bytes {data.hex(' ')}"


class _Reader:
    """A cursor that refuses to read, or to keep, more than the limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.position = 0
        self.kept = 0

    def take(self, count: int) -> bytes:
        self.check(count)
        self.position += count
        data = self.stream.read(count)
        if len(data) != count:
            raise _bad(f"the file ends at byte {self.position - count}")
        return data

    def skip(self, count: int) -> None:
        """Read on without keeping: in pieces, because a stream may not be able to seek."""
        self.check(count)
        while count > 0:
            self.take(min(count, _SKIP_BYTES))
            count -= _SKIP_BYTES

    def check(self, count: int) -> None:
        if self.position + count > LIMIT_BYTES:
            raise _bad(f"longer than {LIMIT_BYTES // 1024**2} MiB")

    def keep(self, size_bytes: int) -> None:
        self.kept += size_bytes
        if self.kept > LIMIT_BYTES:
            raise _bad(f"its values need more than {LIMIT_BYTES // 1024**2} MiB")

    def scalar(self, code: str) -> Any:  # noqa: ANN401 - the file says which type it is
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def count(self, what: str, maximum: int) -> int:
        (value,) = _COUNT.unpack(self.take(8))
        if value > maximum:
            raise _bad(f"{value} {what}, more than {maximum}")
        return int(value)

    def string(self) -> str:
        length = self.count("bytes in a string", _MAX_STRING)
        self.keep(_CHARACTER_BYTES * length)
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:  # noqa: ANN401 - the file says which type it is
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        raise _bad(f"unknown value type {kind}")

    def array(self) -> list[Any] | ArrayLength:
        kind, length = self.scalar("<I"), self.count("array entries", LIMIT_BYTES)
        if kind in _SCALARS:
            code = _SCALARS[kind]
            size = length * struct.calcsize(code)
            if length <= _KEPT_NUMBERS:
                self.keep(_NUMBER_BYTES * length)
                return [value for (value,) in struct.iter_unpack(code, self.take(size))]
            self.skip(size)
        elif kind == _STRING:
            if length > _MAX_STRINGS:
                raise _bad(f"{length} strings, more than {_MAX_STRINGS}")
            for _ in range(length):
                self.skip(self.count("bytes in a string", _MAX_STRING))
        else:  # arrays of arrays too: llama.cpp loads no such file
            raise _bad(f"array of type {kind}")
        return ArrayLength(length=length)

    def metadata(self, key_count: int) -> dict[str, Any]:
        found = {}
        for _ in range(key_count):
            self.keep(_ENTRY_BYTES)
            key = self.string()
            found[key] = self.value(self.scalar("<I"))
        return found

    def tensor(self) -> tuple[Tensor, int]:
        """Return one entry of the table, and where its data begins after the header."""
        self.keep(_ENTRY_BYTES)
        name, dimensions = self.string(), self.scalar("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise _bad(f"tensor {name[:80]} has {dimensions} dimensions")
        shape = tuple(int(self.scalar("<Q")) for _ in range(dimensions))
        kind, offset = self.scalar("<I"), self.scalar("<Q")
        if max(prod(shape), *shape, offset) > _MOST_TENSOR_BYTES:
            size = " x ".join(map(str, shape))
            raise _bad(f"tensor {name[:80]} of {size} at byte {offset}, which no file can hold")
        return Tensor(name=name, type=type_name(kind), shape=shape), int(offset)


def read(stream: BinaryIO) -> Header:
    """Return the header of the GGUF file that `stream` is at the start of.

    Raises InvalidInput: no GGUF, a version other than 2 or 3, or lengths out of bounds.
    """
    reader = _Reader(stream)
    if (magic := reader.take(4)) != b"GGUF":
        raise InvalidInput(f"not a GGUF file: it starts with {_text(magic)}", hint=_NO_GGUF)
    _check_version(reader.scalar("<I"))
    tensor_count = reader.count("tensors", _MAX_ENTRIES)
    key_count = reader.count("keys", _MAX_ENTRIES)
    metadata = reader.metadata(key_count)
    placed = [reader.tensor() for _ in range(tensor_count)]
    return Header(
        metadata=metadata,
        tensors=tuple(tensor for tensor, _ in placed),
        size_bytes=reader.position,
        file_bytes=_end(placed, reader.position, metadata.get("general.alignment", 32)),
    )


def _check_version(version: int) -> None:
    if version in (2, 3):
        return
    if (swapped := int.from_bytes(version.to_bytes(4, "little"), "big")) in (1, 2, 3):
        raise InvalidInput(
            f"GGUF version {swapped} in big-endian byte order, which no Ollama server loads",
            hint="get the little-endian file, or convert it with gguf_convert_endian.py",
        )
    raise InvalidInput(
        f"GGUF version {version}; versions 2 and 3 are known",
        hint="version 1 was of August 2023 alone: get the file anew, or convert the model again",
    )


def _end(placed: list[tuple[Tensor, int]], header_bytes: int, alignment: Any) -> int:  # noqa: ANN401
    """Return how long the file must be at least to hold the data of its tensors."""
    if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT:
        raise _bad(f"general.alignment is {alignment}")
    start = -(-header_bytes // alignment) * alignment
    known = [(tensor, at) for tensor, at in placed if not tensor.type.startswith("type ")]
    return max((start + at + tensor.size_bytes for tensor, at in known), default=header_bytes)
