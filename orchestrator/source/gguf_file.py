"""A GGUF file on disk as a model; one part of several stands for all that lie beside it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import InvalidInput
from orchestrator.gguf.split import ADVICE, parts_of, stem_of
from orchestrator.source.described import Described, Kind, Part, whole

_HINT = "name a .gguf file that can be read, or a tag of `deploy catalog`"


def in_file(path: Path, name: str | None = None, kind: Kind = "file") -> Described:
    """Return the model in a GGUF file under a name, by default that of the file.

    Raises InvalidInput: it cannot be read, or is no whole model.
    """
    try:
        parts = [_part(each) for each in beside(path)]
        candidate, notes = whole(name or stem_of(path.name), parts)
    except OSError as e:
        raise InvalidInput(f"{e.filename or path}: {e.strerror}", hint=_HINT) from e
    return Described(candidate=candidate, kind=kind, where=str(path), notes=notes)


def beside(path: Path) -> Sequence[Path]:
    """Return all parts, of which `path` is one."""
    paths = [path.with_name(name) for name in parts_of(path.name)]
    missing = [each.name for each in paths if not each.exists()]
    if len(paths) > 1 and missing:
        raise InvalidInput(
            f"{path.name}: one of {len(paths)} files, of which {len(missing)} are not beside it, "
            f"first {missing[0]}",
            hint=ADVICE,
        )
    return paths


def _part(path: Path) -> Part:
    size = path.stat().st_size
    if not path.is_file():  # a pipe would wait for ever
        raise InvalidInput(f"{path}: not a file", hint=_HINT)

    def opened(_first_bytes: int) -> AbstractContextManager[BinaryIO]:
        return path.open("rb")

    return Part(name=path.name, size_bytes=size, opened=opened)
