"""One pull of a model at a time: the second waits for the first, and finds its bytes."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.runtime import disk

_LONGEST_S = 48 * 3600.0  # 400 GB at 2.5 MB/s


def key_of(server_host: str, name: str) -> str:
    """Return what stands for a name on a server in the name of a file."""
    url = urlsplit(server_host)
    digest = hashlib.sha256(name.lower().encode()).hexdigest()
    return f"{url.hostname}-{url.port}-{digest[:12]}"


@contextmanager
def turn(home: Home, server_host: str, name: str, progress: Progress) -> Iterator[None]:
    """Wait for another pull of that name to that server, and hold the turn during the block.

    Raises Busy: it does not end within two days.
    """
    with disk.locked(
        home.state / "pulls" / f"{key_of(server_host, name)}.lock",
        what=f"another pull of {name}",
        limit_s=_LONGEST_S,
        report=progress.tick,
    ):
        yield
