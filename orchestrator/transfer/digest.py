"""Digests of what is written: sha256 beside the download, that of a git blob from the disk."""

import hashlib
import queue
import threading
from pathlib import Path

_QUEUED = 4
_PIECE_BYTES = 1024 * 1024


class Digest:
    """The sha256 of the bytes given to it, computed in a thread of its own: a core beside the one
    that reads. `size_bytes` were given so far.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._hash = hashlib.sha256()
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def update(self, piece: bytes) -> None:
        """Take the next bytes; waits where the hash is behind."""
        self.size_bytes += len(piece)
        self._pieces.put(piece)

    def close(self) -> str:
        """Return "sha256:…" of all bytes. Nothing can be added afterwards."""
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()
        return f"sha256:{self._hash.hexdigest()}"

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hash.update(piece)


def git_blob(path: Path) -> str:
    """Return "git:…": the sha1 of the file as a git blob, which is how the hub names small ones."""
    found = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            found.update(piece)
    return f"git:{found.hexdigest()}"
