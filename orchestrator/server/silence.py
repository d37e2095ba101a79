"""How long a streaming answer may be silent, where one limit for all of it would not do.

httpx takes one read timeout for a whole answer. A pull needs two: while bytes should come, silence
means that the source is gone; while the server hashes 400 GB, it means nothing.
"""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import httpx

_LOOK_S = 0.25


class Silence:
    """Ends the connection of an answer when a wait for its next part has lasted too long.

    Give `take` to the client as a hook for responses; `broken` says afterwards who ended it.
    """

    def __init__(self) -> None:
        self.broken = False
        self._until = float("inf")
        self._connection: socket.socket | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="silence", daemon=True)

    def take(self, response: "httpx.Response") -> None:
        """Remember the connection of an answer that begins."""
        self._connection = response.extensions["network_stream"].get_extra_info("socket")

    def allow(self, seconds: float | None) -> None:
        """Let the next wait last so long from now on; None: nobody waits."""
        self._until = float("inf") if seconds is None else time.monotonic() + seconds

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_S):
            if self._connection is not None and time.monotonic() > self._until:
                self.broken = True
                # Closing would not wake the thread that reads; an end of file does.
                with suppress(OSError):  # it ended in this very instant
                    self._connection.shutdown(socket.SHUT_RDWR)
                return
