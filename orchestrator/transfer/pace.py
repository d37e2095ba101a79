"""How fast all threads of a download may take bytes together, and the end of all of them."""

import threading
import time


class Ended(Exception):
    """The download was ended while this thread waited or read."""


class Pace:
    """A bucket of bytes that fills at `bytes_per_s` (None: no limit); threads wait on it in turn.

    `ended` is set once, when all threads are to stop; who waits here then raises Ended.
    """

    def __init__(self, bytes_per_s: float | None, ended: threading.Event) -> None:
        self._rate = bytes_per_s
        self._ended = ended
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def piece_bytes(self, most: int) -> int:
        """Return how much to read at once: with a limit no more than an eighth of a second's."""
        return most if self._rate is None else max(1024, min(most, int(self._rate / 8)))

    def take(self, size: int) -> None:
        """Wait until bytes that have come may be followed by others. Raises Ended."""
        wait_s = 0.0
        if self._rate is not None:
            with self._lock:
                now = time.monotonic()
                self._free_at = max(self._free_at, now) + size / self._rate
                wait_s = self._free_at - now
        self.wait(wait_s)

    def wait(self, seconds: float) -> None:
        """Wait that long. Raises Ended."""
        if self._ended.wait(seconds) if seconds > 0 else self._ended.is_set():
            raise Ended
