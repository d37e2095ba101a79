"""A file put in its place in one step, so that no reader ever sees a half of it."""

import fcntl
import os
import tempfile
from collections.abc import Iterable
from io import RawIOBase
from pathlib import Path

PREFIX = "deploy-staged-"
_SYNC_BYTES = 2**30
"""After so many bytes we wait for the disk, lest the last wait be one of minutes, and silent."""


def replace(path: Path, raw: bytes, *, like: Path, store: Path) -> None:
    """Make the file `path` hold `raw`, owned as the file `like` is. Raises OSError.

    It is staged in `store`, not beside `path`: a server that lists manifests/ in that moment
    would take the staged file for a model, and answered requests for others with 404.
    """
    receive(path, (raw,), like=like, store=store)


def receive(path: Path, chunks: Iterable[bytes], *, like: Path, store: Path) -> None:
    """Do as `replace` does, with content that comes in chunks.

    What they raise ends it, and nothing is left. In blobs/ a starting server would take away what
    is staged. Raises OSError.
    """
    owner = like.stat()
    if os.geteuid() not in {0, owner.st_uid}:
        # The server could read a file of ours, but never again replace or remove it.
        raise PermissionError(f"{like} belongs to another user")
    handle, staged = tempfile.mkstemp(prefix=PREFIX, dir=store)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            fcntl.flock(handle, fcntl.LOCK_SH)  # it lasts as long as we do: see in_use
            _fill(file, chunks)
            os.fchmod(handle, 0o644)
            if os.geteuid() == 0:
                os.fchown(handle, owner.st_uid, owner.st_gid)
            os.fsync(handle)
            make_folders(path.parent, owner)
            Path(staged).replace(path)
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def in_use(staged: Path) -> bool:
    """Say whether somebody writes a staged file at this moment. Raises OSError."""
    try:
        with staged.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _fill(file: RawIOBase, chunks: Iterable[bytes]) -> None:
    unsynced_bytes = 0
    for chunk in chunks:
        rest = memoryview(chunk)
        unsynced_bytes += len(rest)
        if unsynced_bytes > _SYNC_BYTES:
            os.fdatasync(file.fileno())
            unsynced_bytes = 0
        while rest:  # a disk that is nearly full takes a part of it first
            rest = rest[file.write(rest) :]


def staged(store: Path) -> list[Path]:
    """Return the staged files that killed moves left behind."""
    return sorted(store.glob(f"{PREFIX}*"))


def make_folders(folder: Path, owner: os.stat_result) -> None:
    """Make a folder, and those above it, owned by `owner` if we may choose. Raises OSError."""
    if folder.is_dir():
        return
    make_folders(folder.parent, owner)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # whatever our umask says, the server must get in
    if os.geteuid() == 0:
        os.chown(folder, owner.st_uid, owner.st_gid)


def _sync(folder: Path) -> None:
    """Put the rename itself on the disk: after a power cut the name is the old or the new."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
