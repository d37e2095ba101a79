"""A lock that the kernel drops when its holder dies, and that says what one waits for."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import Busy

_TELL_S = 4.0


@contextmanager
def held(path: Path, *, what: str, limit_s: float, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file during the block. Raises Busy: not free within `limit_s` seconds."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    end = time.monotonic() + limit_s
    while True:
        try:
            lock.acquire(timeout=min(_TELL_S, max(end - time.monotonic(), 0)))
            break
        except filelock.Timeout as e:
            if time.monotonic() >= end:
                raise Busy(f"{what} still runs after {limit_s:.0f} s") from e
            report(f"waiting for {what}")
    try:
        yield
    finally:
        lock.release()
