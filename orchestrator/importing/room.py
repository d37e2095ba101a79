"""Whether the disk of the server's store takes an import, said before a byte moves."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import DiskFull
from orchestrator.importing import Destination
from orchestrator.runtime.disk import free_bytes
from orchestrator.units import gib

_SPARE_BYTES = 32 * 1024**2  # a disk filled to the last byte hurts others


@contextmanager
def needed(to: Destination, name: str, needed_bytes: int) -> Iterator[None]:
    """Check that so much is free, and add that to the error of a disk that became full later.

    Of a server whose store is not ours to see nothing is known before it says so. Raises DiskFull.
    """
    wanted_bytes = needed_bytes + _SPARE_BYTES
    free = _free_bytes(to)
    if free is not None and free < wanted_bytes:
        raise _full(to, f"to import {name}", wanted_bytes, free)
    try:
        yield
    except DiskFull as e:
        raise _full(to, f"{e.what}: to import {name}", wanted_bytes, _free_bytes(to)) from e


def _free_bytes(to: Destination) -> int | None:
    return None if to.store is None else free_bytes(to.store.path)


def _full(to: Destination, what: str, wanted_bytes: int, free: int | None) -> DiskFull:
    where = "the server's store" if to.store is None else str(to.store.path)
    left = "how much is free there is unknown" if free is None else f"{gib(free)} is free"
    return DiskFull(
        f"{what} takes {gib(wanted_bytes)} at {where}; {left}",
        needed_bytes=wanted_bytes,
        free_bytes=free,
    )
