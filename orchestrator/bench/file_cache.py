"""Whether the kernel holds a file in memory, and how to make it forget: cold loads and warm ones.

A load from the disk and one from the file cache differ tenfold, and are two figures.
"""

import ctypes
import mmap
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from orchestrator.units import GIB

_SLICE_BYTES = GIB
_LIMIT_S = 5.0
_GONE_SHARE = 0.01  # a page that is being read at that moment, by whomever, stays
_LOWEST_BIT = bytes(byte & 1 for byte in range(256))  # the others are reserved
_MAP_FAILED = ctypes.c_void_p(-1).value


def cached_share(path: Path | str) -> float | None:
    """Return the share of a file's pages that are in the kernel's file cache, 0 to 1.

    None: not on this system, no such file or an empty one, over 5 s (some hundred GB), or a file
    that we neither own nor may write: of those Linux says that every page is there. Never raises.
    """
    if not sys.platform.startswith("linux"):
        return None
    with suppress(OSError, ValueError, AttributeError):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _share(file) if _tells_the_truth(file, path) else None
        finally:
            os.close(file)
    return None


def evict(path: Path | str) -> bool:
    """Make the kernel forget a file, which takes no root; return whether it is known to be gone.

    False: some process maps it (a runner that was not told --no-mmap) or reads it, it lies on a
    tmpfs or ramfs, which have no other place for it, or cached_share cannot tell. What is not yet
    written to the disk is written first, for it could not be forgotten. Never raises.
    """
    with suppress(OSError, ValueError, AttributeError):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
        share = cached_share(path)
        return share is not None and share <= _GONE_SHARE
    return False


def _tells_the_truth(file: int, path: Path | str) -> bool:
    if os.fstat(file).st_uid == os.geteuid():
        return True
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.W_OK, effective_ids=effective)


def _share(file: int) -> float | None:
    size, until = os.fstat(file).st_size, time.monotonic() + _LIMIT_S
    libc = _libc()
    inside = pages = 0
    for start in range(0, size, _SLICE_BYTES):
        if time.monotonic() > until:
            return None
        found = _inside(libc, file, start, min(_SLICE_BYTES, size - start))
        if found is None:
            return None
        inside, pages = inside + found[0], pages + found[1]
    return inside / pages if pages else None


def _inside(libc: ctypes.CDLL, file: int, start: int, length: int) -> tuple[int, int] | None:
    """Return how many pages of a slice are in memory, and of how many."""
    pages = -(-length // mmap.PAGESIZE)
    # Not Python's mmap: its address is only given away for mappings that one may write.
    address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file, start)
    if address == _MAP_FAILED:
        return None
    try:
        told = ctypes.create_string_buffer(pages)
        if libc.mincore(address, length, told):
            return None
        return told.raw.translate(_LOWEST_BIT).count(1), pages
    finally:
        libc.munmap(address, length)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    pointer, size, whole, offset = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int64,
    )  # fmt: skip
    libc.mmap.argtypes = [pointer, size, whole, whole, whole, offset]
    libc.mmap.restype = pointer
    libc.mincore.argtypes = [pointer, size, ctypes.c_char_p]
    libc.munmap.argtypes = [pointer, size]
    return libc
