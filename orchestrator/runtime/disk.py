"""Free space, and what a failed write means."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import DeployError, DiskFull, PullFailed
from orchestrator.units import MIB, gib

_MARGIN_BYTES = 32 * MIB
_ELSEWHERE = "free space there, or set DEPLOY_HOME to a folder on another disk"


def existing(path: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    return next((p for p in (path, *path.parents) if p.exists()), Path("/"))


def free_bytes(path: Path) -> int | None:
    """Return what a user may still write where `path` is or will be; None: it will not say."""
    try:
        stat = os.statvfs(existing(path))
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize


def check(folder: Path, needed_bytes: int) -> None:
    """Raise DiskFull if that many bytes and a margin of 32 MiB do not fit."""
    free = free_bytes(folder)
    if needed_bytes and free is not None and free < needed_bytes + _MARGIN_BYTES:
        raise full(folder, needed_bytes + _MARGIN_BYTES)


def full(folder: Path, needed_bytes: int | None = None) -> DiskFull:
    """Return the error for a disk that is too full for what goes into that folder."""
    free = free_bytes(folder)
    left = "unknown" if free is None else gib(free)
    need = "" if needed_bytes is None else f"{gib(needed_bytes)} needed, "
    return DiskFull(
        f"too little space for {folder}: {need}{left} free",
        hint=_ELSEWHERE,
        needed_bytes=needed_bytes,
        free_bytes=free,
    )


@contextmanager
def mapped(folder: Path, failure: type[DeployError] = PullFailed) -> Iterator[None]:
    """Turn a failed write below that folder into DiskFull or into `failure`."""
    try:
        yield
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise full(folder) from e
        raise failure(
            f"cannot write {e.filename or folder}: {e.strerror or e}",
            hint="set DEPLOY_HOME to a folder that you may write",
        ) from e
