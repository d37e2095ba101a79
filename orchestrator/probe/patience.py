"""Questions to the system that may never be answered, and for how long the probe waits."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

LIMIT_S = 3.0
_Said = TypeVar("_Said")


class Question(Generic[_Said]):
    """A question that is being asked, in a thread of its own; it fails with None.

    A file system whose server is gone keeps whoever asks it waiting, for minutes or for good. A
    thread suffices, though none can be ended: NFS, SMB and FUSE let a process die while it waits,
    so a daemon thread keeps no `deploy` from its end, and a child process would have to be started
    for every question that a healthy disk answers in microseconds.
    """

    def __init__(self, ask: Callable[[], _Said | None]) -> None:
        self._said: _Said | None = None
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, args=(ask,), daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:  # the limit of threads is reached
            self._thread = None

    def answer(self, until: float) -> _Said | None:
        """Return what was said by that time of time.monotonic(), None for nothing."""
        if self._thread is not None:
            self._thread.join(max(until - time.monotonic(), 0))
        return self._said

    def _run(self, ask: Callable[[], _Said | None]) -> None:
        # RuntimeError is how pathlib says that links lead in a circle; ValueError: a path of no
        # file system's.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self._said = ask()


def patiently(ask: Callable[[], _Said | None], limit_s: float = LIMIT_S) -> _Said | None:
    """Return what is said within the limit, None for nothing."""
    return Question(ask).answer(time.monotonic() + limit_s)
