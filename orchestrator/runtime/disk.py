"""Writing to a disk: its free space, what a failed write means, and one writer at a time."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.errors import Busy, DeployError, DiskFull, PullFailed
from orchestrator.runtime import Report
from orchestrator.units import MIB, gib

_MARGIN_BYTES = 32 * MIB
_TELL_S = 4.0
_ELSEWHERE = "free space there, or set DEPLOY_HOME to a folder on another disk"


def existing(path: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    return next((p for p in (path, *path.parents) if p.exists()), Path("/"))


def free_bytes(path: Path) -> int | None:
    """Return what a user may still write where `path` is or will be; None: it will not say.

    A folder that does not exist yet, or that we may not enter, is measured at its nearest parent.
    Free is f_bavail: blocks reserved for root, or kept by a quota of the file system, are not ours.
    """
    for folder in (path, *path.parents):
        with suppress(OSError):
            room = os.statvfs(folder)
            return room.f_bavail * room.f_frsize
    return None


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


@contextmanager
def locked(
    path: Path,
    *,
    what: str,
    limit_s: float,
    report: Report,
    failure: type[DeployError] = PullFailed,
) -> Iterator[None]:
    """Hold that lock file during the block, and say what one waits for; see mapped for `failure`.

    The kernel drops the lock when its holder dies. Raises Busy: not free within `limit_s` seconds.
    """
    import filelock

    with mapped(path.parent, failure):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        end = time.monotonic() + limit_s
        while not lock.is_locked:
            try:
                lock.acquire(timeout=min(_TELL_S, max(end - time.monotonic(), 0)))
            except filelock.Timeout as e:
                if time.monotonic() >= end:
                    raise Busy(f"{what} still runs after {limit_s:.0f} s") from e
                report(f"waiting for {what}")
        try:
            yield
        finally:
            lock.release()
