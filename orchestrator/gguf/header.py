"""Read the header of a GGUF file within bounds; of long arrays only the length is kept.

Layout (ggml/docs/gguf.md): magic, version, tensor count, key count, the keys, the tensor table.
A hostile file costs at most `LIMIT_BYTES` of reading and one clear error.
"""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from orchestrator.errors import InvalidInput
from orchestrator.gguf.types import Tensor, type_name

LIMIT_BYTES = 64 * 1024**2
_MAX_ENTRIES = 65_536
_MAX_STRING = 1024**2
_MAX_STRINGS = 1024**2  # a vocabulary has up to 262,144 entries
_KEPT_NUMBERS = 1024  # one a layer: head counts of unlike layers
_MAX_DIMENSIONS = 4
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i",
    6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayLength:
    """Stands for an array value that was skipped: strings, or many numbers."""

    length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Metadata and tensor table of one file; `size_bytes` is where the table ends."""

    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    size_bytes: int


class _Reader:
    """A cursor that refuses to read more than the limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.position = 0

    def take(self, count: int) -> bytes:
        self.position += count
        if self.position > LIMIT_BYTES:
            raise InvalidInput(f"GGUF header: longer than {LIMIT_BYTES // 1024**2} MiB")
        data = self.stream.read(count)
        if len(data) != count:
            raise InvalidInput(f"GGUF header: the file ends at byte {self.position - count}")
        return data

    def scalar(self, code: str) -> Any:  # noqa: ANN401 - the file says which type it is
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def count(self, what: str, maximum: int) -> int:
        value = int(self.scalar("<Q"))
        if value > maximum:
            raise InvalidInput(f"GGUF header: {value} {what}, more than {maximum}")
        return value

    def string(self) -> str:
        return self.take(self.count("bytes in a string", _MAX_STRING)).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:  # noqa: ANN401 - the file says which type it is
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        raise InvalidInput(f"GGUF header: unknown value type {kind}")

    def array(self) -> list[Any] | ArrayLength:
        kind, length = self.scalar("<I"), self.count("array entries", LIMIT_BYTES)
        if kind in _SCALARS:
            code = _SCALARS[kind]
            data = self.take(length * struct.calcsize(code))
            if length <= _KEPT_NUMBERS:
                return [value for (value,) in struct.iter_unpack(code, data)]
        elif kind == _STRING:
            if length > _MAX_STRINGS:
                raise InvalidInput(f"GGUF header: {length} strings, more than {_MAX_STRINGS}")
            for _ in range(length):
                self.take(self.count("bytes in a string", _MAX_STRING))
        else:
            raise InvalidInput(f"GGUF header: array of type {kind}")
        return ArrayLength(length=length)

    def tensor(self) -> Tensor:
        name, dimensions = self.string(), self.scalar("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise InvalidInput(f"GGUF header: tensor {name} has {dimensions} dimensions")
        shape = tuple(int(self.scalar("<Q")) for _ in range(dimensions))
        kind, _offset = self.scalar("<I"), self.scalar("<Q")
        return Tensor(name=name, type=type_name(kind), shape=shape)


def read(stream: BinaryIO) -> Header:
    """Return the header of the GGUF file that `stream` is at the start of.

    Raises InvalidInput: no GGUF, a version other than 2 or 3, or lengths out of bounds.
    """
    reader = _Reader(stream)
    if (magic := reader.take(4)) != b"GGUF":
        raise InvalidInput(f"not a GGUF file: it starts with {magic!r}")
    if (version := reader.scalar("<I")) not in (2, 3):
        raise InvalidInput(f"GGUF version {version}; versions 2 and 3 are known")
    tensor_count = reader.count("tensors", _MAX_ENTRIES)
    key_count = reader.count("keys", _MAX_ENTRIES)
    metadata = {}
    for _ in range(key_count):
        key = reader.string()
        metadata[key] = reader.value(reader.scalar("<I"))
    tensors = tuple(reader.tensor() for _ in range(tensor_count))
    return Header(metadata=metadata, tensors=tensors, size_bytes=reader.position)
