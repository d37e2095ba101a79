"""Whether GGUF files are whole, and whether this server can load what they are parts of.

A server of 0.9.3 makes a model of a cut file and of a part without a word, and fails when it loads
it: of two parts its process ends.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import PurePosixPath

from orchestrator.era import Era, ServerVersion
from orchestrator.errors import InvalidInput, SourceCorrupt
from orchestrator.gguf import header, split
from orchestrator.gguf.header import Header
from orchestrator.importing import LocalFile
from orchestrator.importing.check_documents import size_of

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_MERGES = "0.30"
_MOST_HOLES = 1 / 16  # a download that was broken off leaves one; whole weights have hardly any
_AGAIN = "fetch the file again"


def check(parts: Sequence[LocalFile], version: ServerVersion) -> None:
    """Look into the file of a model, or into all parts of one, in their order.

    Raises SourceCorrupt: damaged or cut, which another download may mend. InvalidInput: no GGUF,
    parts missing or mixed up, or parts at all on a server of that version, which cannot merge them.
    """
    if not parts:
        raise InvalidInput("there is no GGUF among the files", hint="name the .gguf file")
    headers = [_whole(part) for part in parts]
    names = [PurePosixPath(part.name).name for part in parts]
    counts = [split.declared(each.metadata) for each in headers]
    if max(counts) > 1 and version.era is not Era.LLAMA_SERVER:
        raise _unmergeable(names[0], max(counts), version)
    _check_order(names, max(counts))
    _check_tensors(names[0], split.joined(names, headers))


def _whole(part: LocalFile) -> Header:
    """Return the header of a file whose tensors all lie within it."""
    size = size_of(part)
    try:
        found, written_bytes = _read(part), _written_bytes(part, size)
    except OSError as e:
        raise SourceCorrupt(f"cannot read {part.path}: {e.strerror or e}", hint=_AGAIN) from e
    if found.file_bytes > size:
        raise SourceCorrupt(
            f"{part.name} is cut: {size} of at least {found.file_bytes} bytes", hint=_AGAIN
        )
    if written_bytes < size * (1 - _MOST_HOLES):
        raise SourceCorrupt(
            f"{part.name} is sparse: {written_bytes} of {size} bytes were written", hint=_AGAIN
        )
    return found


def _read(part: LocalFile) -> Header:
    with part.path.open("rb") as stream:
        start = stream.read(8)
        stream.seek(0)
        try:
            return header.read(stream)
        except InvalidInput as e:
            version = int.from_bytes(start[4:], "little")
            begun = _MAGIC.startswith(start[:4]) and len(start) < 8
            if begun or (start[:4] == _MAGIC and version in _VERSIONS):
                raise SourceCorrupt(f"{part.name}: {e.what}", hint=e.hint) from e
            raise InvalidInput(f"{part.name}: {e.what}", hint=e.hint) from e


def _written_bytes(part: LocalFile, size: int) -> int:
    """Return how much of a file is no hole; all of it where the file system does not tell."""
    written, at = 0, 0
    with part.path.open("rb") as stream:
        while at < size:
            try:
                begin = os.lseek(stream.fileno(), at, os.SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:  # the file system does not tell
                    return size
                break  # nothing but a hole from here on
            at = os.lseek(stream.fileno(), begin, os.SEEK_HOLE)
            written += at - begin
    return written


def _unmergeable(name: str, count: int, version: ServerVersion) -> InvalidInput:
    whole = split.stem_of(name)
    return InvalidInput(
        f"{name} is one of {count} parts, and Ollama {version} loads no model in parts",
        hint=f"merge them: `llama-gguf-split --merge {name} {whole}`; or take Ollama {_MERGES}",
    )


def _check_order(names: Sequence[str], count: int) -> None:
    """Hold the names to be those of all parts: the server finds their order by them alone."""
    wanted = split.parts_of(names[0]) if count > 1 else tuple(names)
    if count > 1 and len(wanted) != count:
        raise InvalidInput(
            f"{names[0]} is one of {count} parts, and its name does not say so",
            hint="give the parts the names that llama-gguf-split gave them: "
            "NAME-00001-of-00003.gguf",
        )
    if missing := [name for name in wanted if name not in names]:
        raise InvalidInput(
            f"{len(missing)} of {count} parts are missing, first {missing[0]}", hint=split.ADVICE
        )
    if tuple(names) != wanted:
        raise InvalidInput(
            f"the parts are not in their order: {', '.join(names)[:400]}", hint=split.ADVICE
        )


def _check_tensors(name: str, found: Header) -> None:
    if not found.tensors:
        raise InvalidInput(f"{name} has no tensors", hint="name the file of the whole model")
    said = found.metadata.get("split.tensors.count")
    if said is not None and said != len(found.tensors):
        raise SourceCorrupt(
            f"{name} says that the model has {said} tensors, its parts have {len(found.tensors)}",
            hint=_AGAIN,
        )
