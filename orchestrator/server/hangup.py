"""How one thread ends the answers that other threads wait for.

A generator cannot be closed while its thread runs in it, and a request that waits for a slot gets
not one byte to look up at. So the connection below it is ended, from its first moment on.
"""

import socket
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

# httpcore's names for what it traces: a connection is there, and it is encrypted from here on.
_CONNECTED = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})


class Hangup:
    """Ends every answer that was asked for with it, at any time and from any thread.

    Who reads one gets an error at once, and so does who asks later; the server sees the end of the
    connection and frees the slot.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = False
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    @property
    def ended(self) -> bool:
        """Whether `end` was called: errors of an answer mean nothing from then on."""
        return self._ended

    def follow(self, request: "httpx.Request") -> None:
        """Remember the connection that this request will have: a hook for requests."""
        request.extensions["trace"] = self._trace

    def end(self) -> None:
        """End all of them now, and those to come as soon as they are connected."""
        with self._lock:
            self._ended = True
            for connection in self._open:
                _end(connection)

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event not in _CONNECTED:
            return
        connection = info["return_value"].get_extra_info("socket")
        with self._lock:
            self._open.add(connection)
            if self._ended:
                _end(connection)


def _end(connection: socket.socket) -> None:
    # Closing would not wake the thread that reads; an end of file does.
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)
