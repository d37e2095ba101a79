"""A model described by its true headers, wherever its files lie: disk, registry or hub."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from orchestrator.errors import InvalidInput
from orchestrator.gguf import header
from orchestrator.gguf.facts import candidate_of
from orchestrator.gguf.header import Header
from orchestrator.gguf.split import joined
from orchestrator.model import Candidate
from orchestrator.source.remote import FIRST_BYTES

Kind = Literal["catalog", "file", "store", "registry", "hub"]
_FURTHER_PART_BYTES = 64 * 1024  # parts after the first have few keys and short tables
_NO_MODEL = "name the GGUF of a language model; if it is one, the file is damaged: fetch it again"
_SPLIT = (
    "the model lies in {} files: Ollama loads such from 0.30 on, and only if it is given all; for"
    " older servers merge them with `llama-gguf-split --merge`"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """A candidate, where its facts come from, and what a person should know about it.

    `imported` says of safetensors which class of model they are and which Ollama imports it.
    """

    candidate: Candidate
    kind: Kind
    where: str
    transferred_bytes: int = 0
    notes: tuple[str, ...] = ()
    imported: Mapping[str, str | None] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the `origin` of an estimate document."""
        return {
            "kind": self.kind,
            "where": self.where,
            "transferred_bytes": self.transferred_bytes,
            "import": dict(self.imported) if self.imported else None,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One file of a model. `opened` opens it at its start, told how much to fetch at first."""

    name: str
    size_bytes: int
    opened: Callable[[int], AbstractContextManager[BinaryIO]]


def whole(name: str, parts: Sequence[Part]) -> tuple[Candidate, tuple[str, ...]]:
    """Return the model in these files as a candidate of that name, and what to know about it.

    Raises InvalidInput: a file is no GGUF, is cut, or is not one of these parts.
    """
    sizes = [FIRST_BYTES] + [_FURTHER_PART_BYTES] * (len(parts) - 1)
    headers = [_header(part, size) for part, size in zip(parts, sizes, strict=True)]
    found = joined([part.name for part in parts], headers)
    if not found.tensors:
        raise InvalidInput(f"{name}: it has no tensors, so it is no model", hint=_NO_MODEL)
    try:
        candidate = candidate_of(name, found, sum(part.size_bytes for part in parts))
    except InvalidInput as e:
        hint = _NO_MODEL if e.hint == InvalidInput.remedy else e.hint
        raise InvalidInput(f"{name}: {e.what}", hint=hint) from e
    return candidate, (_SPLIT.format(len(parts)),) if len(parts) > 1 else ()


def _header(part: Part, first_bytes: int) -> Header:
    try:
        with part.opened(first_bytes) as stream:
            found = header.read(stream)
    except InvalidInput as e:
        raise InvalidInput(f"{part.name}: {e.what}", hint=e.hint) from e
    if found.file_bytes > part.size_bytes:
        raise InvalidInput(
            f"{part.name}: it has {part.size_bytes} bytes, and its tensors reach to byte "
            f"{found.file_bytes}",
            hint="the file is cut: complete the download, or fetch it again",
        )
    return found
