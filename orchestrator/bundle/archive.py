"""A bundle that is read: its index first, then every member as that says, or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from orchestrator.bundle import header
from orchestrator.bundle.index import (
    LARGEST_TEXT_BYTES,
    NAME,
    SUMS,
    BundledModel,
    Index,
    Member,
    blob_path,
)
from orchestrator.errors import InvalidInput, SourceCorrupt
from orchestrator.store import Layer, Manifest

CHUNK_BYTES = 4 * 2**20
_HINT = "copy the bundle again, or make it again with `deploy bundle create`"


def digest_of(raw: bytes) -> str:
    """Return the sha256 in hex."""
    return hashlib.sha256(raw).hexdigest()


def sums(index_raw: bytes, members: tuple[Member, ...]) -> bytes:
    """Return the member SHA256SUMS: what `sha256sum -c` reads after the archive is unpacked."""
    lines = [f"{digest_of(index_raw)}  {NAME}"]
    lines += [f"{member.sha256}  {member.path}" for member in members]
    return ("\n".join(lines) + "\n").encode()


@dataclass(slots=True)
class Archive:
    """An open bundle, its index read and its headers compared with that.

    Nothing is written by any method; contents are handed out in chunks.
    """

    path: Path
    file: BinaryIO
    index: Index
    _places: dict[str, int] = field(default_factory=dict)

    def text(self, member: Member) -> bytes:
        """Return a small member, whole. Raises SourceCorrupt."""
        return b"".join(self.chunks(member))

    def manifest(self, model: BundledModel) -> Manifest:
        """Return a model's manifest, as the index has it. Raises SourceCorrupt, InvalidInput."""
        member = next(each for each in self.index.members if each.path == model.manifest)
        try:
            found = Manifest.parse(self.text(member))
        except ValueError as e:
            raise _refused(self.path, f"has a manifest of {model.name} that is none ({e})") from e
        if found.digest != model.digest or found.layers != model.layers:
            raise _refused(self.path, f"has another manifest of {model.name} than its index states")
        return found

    def blob(self, layer: Layer) -> Member:
        """Return the member that holds a layer."""
        path = blob_path(layer.digest)
        return next(each for each in self.index.members if each.path == path)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield a member's content; before its last chunk all of it is verified.

        So whoever takes chunks never has the whole of a damaged member. Raises SourceCorrupt.
        """
        digest, left, last = hashlib.sha256(), member.size_bytes, b""
        with self._reading():
            self.file.seek(self._places[member.path])
            while left:
                chunk = self.file.read(min(CHUNK_BYTES, left))
                if not chunk:
                    raise SourceCorrupt(f"{self.path} ends inside of {member.path}", hint=_HINT)
                digest.update(chunk)
                left -= len(chunk)
                if left:
                    yield chunk
                else:
                    last = chunk
        if digest.hexdigest() != member.sha256:
            raise damaged(self.path, member)
        yield last

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise SourceCorrupt(f"cannot read {self.path}: {e.strerror or e}", hint=_HINT) from e


def damaged(path: Path, member: Member) -> SourceCorrupt:
    """Return the error for a member that is not what the index says."""
    return SourceCorrupt(
        f"{path}: {member.path} is damaged: its content has not the sha256 that the index states",
        hint=_HINT,
    )


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Yield a bundle whose index is valid and whose headers are those that the index announces.

    Raises InvalidInput: it cannot be read, is no bundle, or a hostile one; SourceCorrupt: it is cut
    off.
    """
    with _file(path) as file:
        raw = _index(path, file)
        index = Index.from_json(_parsed(raw, path), str(path))
        archive = Archive(path, file, index)
        _walk(archive, raw)
        yield archive


def peek(path: Path) -> Index:
    """Return what a bundle says that it holds; only its index is read.

    Raises InvalidInput; SourceCorrupt: the file is shorter than that.
    """
    with _file(path) as file:
        index = Index.from_json(_parsed(_index(path, file), path), str(path))
    size = path.stat().st_size
    if size < index.total_bytes:
        raise SourceCorrupt(
            f"{path} has {size} bytes, and its index announces {index.total_bytes}: it was cut off",
            hint=_HINT,
        )
    return index


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for ever
            raise InvalidInput(f"{path} is no file", hint="name a file that `create` wrote")
        file = path.open("rb", buffering=0)
    except OSError as e:
        raise InvalidInput(f"{path}: {e.strerror}", hint="name a bundle that can be read") from e
    with file:
        yield file


def _index(path: Path, file: BinaryIO) -> bytes:
    name, size_bytes = _next(path, file, "at its beginning") or ("", 0)
    if name != NAME or size_bytes > LARGEST_TEXT_BYTES:
        raise _refused(path, f"is no bundle: it begins with {name[:100]!r} instead of {NAME}")
    return _exactly(path, file, size_bytes)


def _parsed(raw: bytes, path: Path) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as e:
        raise _refused(path, f"has an index that is no JSON ({e})") from e


def _walk(archive: Archive, raw: bytes) -> None:
    """Compare every header with the index; contents are skipped, and nothing is written.

    Raises InvalidInput: another name, size, order or kind than announced, or something after it.
    """
    path, file, index = archive.path, archive.file, archive.index
    checksums = sums(raw, index.members)
    expected = [(member.path, member.size_bytes) for member in index.members]
    after = sum(1 for member in index.members if member.folder in {"manifests", "licences"})
    expected.insert(after, (SUMS, len(checksums)))
    for name, size_bytes in expected:
        found = _next(path, file, f"before {name}")
        if found != (name, size_bytes):
            raise _refused(path, f"has {_shown(found)} where {name} ({size_bytes} bytes) belongs")
        archive._places[name] = file.tell()  # noqa: SLF001 - of this module
        if name == SUMS and _exactly(path, file, size_bytes) != checksums:
            raise _refused(path, f"has other checksums in {SUMS} than in its index")
        _skip(archive, name, size_bytes)
    if (found := _next(path, file, "at its end")) is not None:
        raise _refused(path, f"has {_shown(found)}, which the index does not announce")


def _skip(archive: Archive, name: str, size_bytes: int) -> None:
    file = archive.file
    end = archive._places[name] + size_bytes + header.padding(size_bytes)  # noqa: SLF001
    if end > os.fstat(file.fileno()).st_size:
        raise SourceCorrupt(f"{archive.path} ends inside of {name}: it is cut off", hint=_HINT)
    file.seek(end)


def _next(path: Path, file: BinaryIO, where: str) -> tuple[str, int] | None:
    """Return name and size of the next member; None: the archive ends here."""
    try:
        return header.read(file.read(header.BLOCK))
    except header.Refused as e:
        raise _refused(path, f"{e}, {where}") from e
    except OSError as e:
        raise InvalidInput(f"{path}: {e.strerror}", hint=_HINT) from e


def _exactly(path: Path, file: BinaryIO, size_bytes: int) -> bytes:
    """Read a text and the zeros after it."""
    raw = b""
    with suppress(OSError):
        raw = file.read(size_bytes)
        file.seek(header.padding(size_bytes), os.SEEK_CUR)
    if len(raw) < size_bytes:
        raise SourceCorrupt(f"{path} is cut off", hint=_HINT)
    return raw


def _shown(found: tuple[str, int] | None) -> str:
    return "its end" if found is None else f"the member {found[0][:100]!r} ({found[1]} bytes)"


def _refused(path: Path, what: str) -> InvalidInput:
    return InvalidInput(f"{path} {what}", hint="name a file that `deploy bundle create` wrote")
