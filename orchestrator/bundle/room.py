"""The disks that a bundle is written to: checked before, and what a failed write means."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import DeployError, DiskFull
from orchestrator.runtime.disk import free_bytes
from orchestrator.units import MIB, gb

MARGIN_BYTES = 16 * MIB


def check(folder: Path, needed_bytes: int, hint: str | None = None) -> None:
    """Raise DiskFull if that many bytes and a margin of 16 MiB do not fit; 0 always fits."""
    free = free_bytes(folder)
    if needed_bytes and free is not None and free < needed_bytes + MARGIN_BYTES:
        raise full(folder, needed_bytes + MARGIN_BYTES, hint)


def full(folder: Path, needed_bytes: int, hint: str | None = None) -> DiskFull:
    """Return the error for a disk that cannot take what goes below that folder."""
    free = free_bytes(folder)
    left = "unknown" if free is None else gb(free)
    return DiskFull(
        f"too little space for {folder}: {gb(needed_bytes)} needed, {left} free",
        hint=hint,
        needed_bytes=needed_bytes,
        free_bytes=free,
    )


@contextmanager
def mapped(
    folder: Path, needed_bytes: int, failure: type[DeployError], hint: str | None = None
) -> Iterator[None]:
    """Turn a failed write below that folder into DiskFull or into `failure`."""
    try:
        yield
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise full(folder, needed_bytes, hint) from e
        what = f"cannot write {e.filename or folder}: {e.strerror or e}"
        raise failure(what, hint=hint or f"see that {folder} can be written") from e
