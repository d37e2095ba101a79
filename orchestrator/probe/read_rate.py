"""How fast the model store can be read: a short look at its largest blob, past the page cache."""

import errno
import mmap
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.machine import DiskKind
from orchestrator.probe.patience import LIMIT_S, patiently
from orchestrator.probe.sight import Sight
from orchestrator.probe.volumes import kind_of, mount_of, mounts
from orchestrator.units import GIB, MIB

_LONGEST_S = 0.3
_MOST_BYTES = 1 * GIB
# Of less the first access takes up most of the time.
_LEAST_BYTES = 16 * MIB
_BLOCK_BYTES = 4 * MIB  # in one call: enough to keep the queues of an NVMe disk full


@dataclass(frozen=True, slots=True)
class ReadRate:
    """Bytes a second of one sequential reader; None: `why` says in a sentence why not."""

    bytes_per_s: int | None
    why: str | None = None


def read_rate(store: Path | str | None) -> ReadRate:
    """Measure for 0.3 s, on 1 GiB at most. Nothing in the store is changed. Never raises."""
    if store is None:
        return ReadRate(None, "where the server keeps its models is not known")
    found = patiently(lambda: _measured(Path(store)))
    return found or ReadRate(None, f"the store cannot be read, or not within {LIMIT_S:.0f} s")


def _measured(store: Path) -> ReadRate:
    path = store.resolve()
    sight = Sight()
    mount = mount_of(str(path), mounts(sight))
    kind: DiskKind | None = kind_of(mount, sight) if mount else None
    if kind == "memory":
        return ReadRate(None, "the store lies in memory, not on a disk")
    if mount and mount.filesystem == "zfs":
        return ReadRate(None, "ZFS reads through a cache of its own, which nobody can read past")
    blob = _largest(path / "blobs")
    if blob is None:
        return ReadRate(
            None, f"the store has no blob of {_LEAST_BYTES // MIB} MiB that is readable"
        )
    return _direct(blob) or _uncached(blob)


def _largest(blobs: Path) -> Path | None:
    found = []
    with suppress(FileNotFoundError):
        for path in blobs.glob("sha256-*"):
            with suppress(FileNotFoundError):  # removed meanwhile
                size = path.stat().st_size
                whole = path.is_file() and "-partial" not in path.name
                if whole and size >= _LEAST_BYTES and os.access(path, os.R_OK):
                    found.append((size, path))
    return max(found, default=(0, None))[1]


def _direct(blob: Path) -> ReadRate | None:
    """Measure with reads that go past the page cache; None: this file system has none."""
    try:
        opened = os.open(blob, os.O_RDONLY | os.O_DIRECT)
    except (AttributeError, OSError):  # AttributeError: macOS knows no O_DIRECT
        return None
    try:
        return _timed(opened)
    except OSError as e:
        if e.errno == errno.EINVAL:
            return None
        raise
    finally:
        os.close(opened)


def _uncached(blob: Path) -> ReadRate:
    """Measure with plain reads of a blob that the kernel was asked to drop from its cache.

    Pages that a runner has mapped stay there.
    """
    if not hasattr(os, "posix_fadvise"):
        return ReadRate(None, "this system reads through its page cache only")
    opened = os.open(blob, os.O_RDONLY)
    try:
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
        if _cached(opened):
            return ReadRate(None, "the blob stays in the page cache: a model is loaded from it")
        return _timed(opened)
    finally:
        os.close(opened)


def _cached(opened: int) -> bool:
    """Say whether a read would be answered out of memory."""
    with suppress(OSError, AttributeError):  # OSError: it would have to wait for the disk
        return os.preadv(opened, [bytearray(4096)], 0, os.RWF_NOWAIT) > 0
    return False


def _timed(opened: int) -> ReadRate:
    done = 0
    # Memory of its own pages is aligned as reads past the page cache demand.
    with mmap.mmap(-1, _BLOCK_BYTES) as buffer:
        started = time.monotonic()
        while done < _MOST_BYTES and time.monotonic() - started < _LONGEST_S:
            got = os.readv(opened, [buffer])
            done += got
            if got < _BLOCK_BYTES:
                break
        took_s = time.monotonic() - started
    return ReadRate(round(done / took_s)) if done and took_s else ReadRate(None, "it read nothing")
