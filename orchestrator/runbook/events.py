"""The event log of all runbooks: one JSON object a line, appended, and rotated when it is large."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.units import MIB

_LIMIT_BYTES = 5 * MIB


class EventLog:
    """The file at `path`. A line that cannot be written is lost, and `failure` says why."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: str | None = None

    def rotate(self) -> None:
        """Move a log of over 5 MiB aside, over the one before it."""
        with self._held() as file:
            if file is not None and os.fstat(file).st_size > _LIMIT_BYTES:
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))

    def write(self, line: str) -> None:
        """Append one line, wholly or not at all."""
        text = f"{line}\n".encode()
        with self._held() as file:
            if file is None:
                return
            before_bytes = os.fstat(file).st_size
            if os.write(file, text) < len(text):
                os.ftruncate(file, before_bytes)  # half a line would spoil the next one
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def _held(self) -> Iterator[int | None]:
        """Open the file for one step of this process alone; None: it cannot be opened."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as e:
            self.failure = e.strerror or str(e)
            yield None
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        except OSError as e:
            self.failure = e.strerror or str(e)
        finally:
            os.close(file)
