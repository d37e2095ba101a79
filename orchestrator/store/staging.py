"""A manifest put in its place in one step, so that no reader ever sees a half of it."""

import os
import tempfile
from pathlib import Path

PREFIX = "deploy-staged-"


def replace(path: Path, raw: bytes, *, like: Path, store: Path) -> None:
    """Make the file `path` hold `raw`, owned as the file `like` is. Raises OSError.

    It is staged in `store`, not beside `path`: a server that lists manifests/ in that moment
    would take the staged file for a model, and answered requests for others with 404.
    """
    owner = like.stat()
    if os.geteuid() not in {0, owner.st_uid}:
        # The server could read a file of ours, but never again replace or remove it.
        raise PermissionError(f"{like} belongs to another user")
    handle, staged = tempfile.mkstemp(prefix=PREFIX, dir=store)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fchmod(handle, 0o644)
            if os.geteuid() == 0:
                os.fchown(handle, owner.st_uid, owner.st_gid)
            os.fsync(handle)
        _make_folders(path.parent, owner)
        Path(staged).replace(path)
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def staged(store: Path) -> list[Path]:
    """Return the staged files that killed moves left behind."""
    return sorted(store.glob(f"{PREFIX}*"))


def _make_folders(folder: Path, owner: os.stat_result) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent, owner)
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
