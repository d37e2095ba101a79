"""A line to a server that can be slowed, frozen, cut and restored: TCP on loopback."""

import re
import socket
import threading
import time
from contextlib import suppress
from typing import Self

from .server import free_port

_CHUNK = 16 * 1024
# Small, so that what counts as sent has arrived: else megabytes wait in the kernel.
_BUFFER = 64 * 1024
_RANGE = re.compile(rb"^Range: bytes=(\d+)-(\d+)\r$", re.MULTILINE | re.IGNORECASE)


class Relay:
    """Forwards every connection to `port`. It limits, freezes and counts what comes back."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.bytes_per_s: float | None = None
        self.ranges: list[tuple[int, int]] = []
        """The byte ranges that were asked for, first and last byte, oldest first."""
        self.sent_bytes = 0
        self._target = port
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        """The registry behind it, as a flag names it."""
        return f"http://127.0.0.1:{self.port}"

    def restore(self) -> Self:
        """Accept connections, at the same port as before, and let bytes through."""
        self._flows.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def cut(self) -> None:
        """End all connections; new ones are accepted."""
        with self._lock:
            ended, self._open = self._open, set()
        for end in ended:
            _close(end)

    def refuse(self) -> None:
        """End all connections and refuse new ones, as when the program at the other end is gone."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _close(listener)
        self.cut()

    def freeze(self) -> None:
        """Keep connections, and accept new ones, but let no byte come back."""
        self._flows.clear()

    def wait_for(self, sent_bytes: int, limit_s: float = 20) -> None:
        """Wait until so much has come back in all. Raises TimeoutError."""
        end = time.monotonic() + limit_s
        while self.sent_bytes < sent_bytes:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.sent_bytes} of {sent_bytes} bytes in {limit_s:.0f} s")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self.restore()

    def __exit__(self, *exc: object) -> None:
        self._flows.set()
        self.refuse()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    _close(near)
                    continue
                with self._lock:
                    self._open |= {near, far}
                for pump in (self._ask, self._answer):
                    threading.Thread(target=pump, args=(near, far), daemon=True).start()

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := near.recv(_CHUNK):
                self.ranges += [(int(a), int(b)) for a, b in _RANGE.findall(data)]
                far.sendall(data)
        self._end(near, far)

    def _answer(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(_CHUNK):
                self._flows.wait()
                self._pace(len(data))
                near.sendall(data)
                self.sent_bytes += len(data)
        self._end(near, far)

    def _pace(self, size: int) -> None:
        """Wait until that many bytes may pass; all connections share the line."""
        if self.bytes_per_s is None:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self.bytes_per_s
            free_at = self._free_at
        time.sleep(max(0.0, free_at - time.monotonic()))

    def _end(self, near: socket.socket, far: socket.socket) -> None:
        with self._lock:
            self._open -= {near, far}
        _close(near)
        _close(far)


def _close(end: socket.socket) -> None:
    """Close it at once, also under a thread that reads it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
