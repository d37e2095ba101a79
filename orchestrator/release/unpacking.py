"""An archive of a release, unpacked member by member: nothing in it may choose where it lands.

Stricter than tarfile's filter "data": only plain files, folders and links below bin/ and lib/, no
member below a link, no link that leads out. A link may climb only at its beginning, so that what it
names is what it looks like, whatever other links lie on the way.
"""

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from orchestrator.errors import SourceCorrupt
from orchestrator.progress import Progress
from orchestrator.runtime import disk
from orchestrator.units import MIB

_ROOTS = frozenset({"bin", "lib"})
_MOST_MEMBERS = 100_000
# What `zstd -d` allows without --long: 128 MiB of history.
_WINDOW_BYTES = 2**27
_SETUID = 0o6000
_REFUSED = "name another --base-url: this archive is none of Ollama's"


def unpack(path: Path, made: Path, progress: Progress) -> None:
    """Unpack an archive (.tar.zst or .tgz) over what lies in the folder `made` already.

    Raises SourceCorrupt: damaged, or not safe; DiskFull, before the member that does not fit.
    """
    size = path.stat().st_size
    with path.open("rb") as file, _tar(path, file) as tar:
        for number, member in enumerate(tar, 1):
            if number > _MOST_MEMBERS:
                raise _unsafe(path.name, f"more than {_MOST_MEMBERS} members")
            _take(tar, member, made, path.name)
            progress.advance(f"unpack {path.name}", file.tell(), size)
    progress.advance(f"unpack {path.name}", size, size)


@contextmanager
def _tar(path: Path, file: BinaryIO) -> Iterator[tarfile.TarFile]:
    """Open an archive as a stream; what breaks it in there is mapped."""
    import zlib

    import zstandard

    try:
        if path.name.endswith(".zst"):
            unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
            with unpacker.stream_reader(file, read_across_frames=True) as stream:
                plain = cast("IO[bytes]", stream)
                with tarfile.open(fileobj=plain, mode="r|") as tar:
                    yield tar
        else:
            with tarfile.open(fileobj=file, mode="r|gz") as tar:
                yield tar
    # ValueError: of tarfile itself, for a description of holes that makes no sense.
    except (tarfile.TarError, zstandard.ZstdError, zlib.error, EOFError, ValueError) as e:
        raise SourceCorrupt(f"{path.name} cannot be unpacked: {e}", hint=_REFUSED) from e


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, made: Path, archive: str) -> None:
    """Put one member in its place below `made`."""
    parts = PurePosixPath(member.name).parts
    if not parts and member.isdir():
        return  # "./"
    _judge(member, parts, archive)
    target = _place(made, parts, archive)
    if member.isdir():
        _enter(target, archive)
        return
    if target.is_dir() and not target.is_symlink():
        raise _unsafe(archive, f"{member.name!r} would replace a folder")
    target.unlink(missing_ok=True)
    if member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        _link(made, member, target, archive)
    else:
        _write(tar, member, target)


def _judge(member: tarfile.TarInfo, parts: tuple[str, ...], archive: str) -> None:
    """Raise SourceCorrupt for a member that has no business in a release."""
    name = repr(member.name[:200])
    if ".." in parts or parts[:1] == ("/",) or "\0" in member.name:
        raise _unsafe(archive, f"{name} leads out of its folder")
    if not parts or parts[0] not in _ROOTS or (len(parts) == 1 and not member.isdir()):
        raise _unsafe(archive, f"{name} lies outside bin/ and lib/")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise _unsafe(archive, f"{name} is a device or a pipe")
    if member.isreg() and member.mode & _SETUID:
        raise _unsafe(archive, f"{name} would run as another user")
    if member.issym():
        _judge_link(member.linkname, parts, archive)


def _judge_link(to: str, parts: tuple[str, ...], archive: str) -> None:
    """Raise SourceCorrupt for a link that leads out of bin/ and lib/, or that hides where to."""
    steps = PurePosixPath(to).parts
    up = next((n for n, step in enumerate(steps) if step != ".."), len(steps))
    down = steps[up:]
    at = parts[: len(parts) - 1 - up] if up < len(parts) else ()
    lands = (*at, *down)
    hidden = ".." in down or to.startswith("/") or "\0" in to
    if not steps or hidden or up >= len(parts) or lands[:1] == () or lands[0] not in _ROOTS:
        raise _unsafe(archive, f"the link {'/'.join(parts)!r} leads to {to[:200]!r}")


def _place(made: Path, parts: tuple[str, ...], archive: str) -> Path:
    """Return where a member goes, in folders that are made and are no links."""
    folder = made
    for part in parts[:-1]:
        folder /= part
        _enter(folder, archive)
    return folder / parts[-1]


def _enter(folder: Path, archive: str) -> None:
    """Make a folder unless it is there. Raises SourceCorrupt: there is a link or a file."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise _unsafe(archive, f"it has a folder where it has a link or a file: {folder.name!r}")
    folder.mkdir(exist_ok=True)


def _link(made: Path, member: tarfile.TarInfo, target: Path, archive: str) -> None:
    """Make a second name for a file that this archive has brought."""
    parts = PurePosixPath(member.linkname).parts
    if not parts or ".." in parts or parts[0] not in _ROOTS:
        raise _unsafe(archive, f"{member.name!r} leads to {member.linkname[:200]!r}")
    other = _place(made, parts, archive)
    if other.is_symlink() or not other.is_file():
        raise _unsafe(archive, f"{member.name!r} is a second name of no file")
    os.link(other, target)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    disk.check(target.parent, member.size)
    source = tar.extractfile(member)
    if source is None:
        raise AssertionError(member.name)  # a regular file has bytes
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file, MIB)
        file.flush()
        os.fsync(file.fileno())
    target.chmod(0o755 if member.mode & 0o111 else 0o644)


def _unsafe(archive: str, why: str) -> SourceCorrupt:
    return SourceCorrupt(f"{archive} is refused: {why}", hint=_REFUSED)
