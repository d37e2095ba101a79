"""Where a runtime is put together: one installation at a time, in a folder beside its target."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from orchestrator.home import Home
from orchestrator.runtime import Report, disk

_LOCK_S = 1500.0
_PREFIX = ".installing-"


def turn(home: Home, report: Report) -> AbstractContextManager[None]:
    """Hold the lock that every installation of a runtime takes, during the block. Raises Busy."""
    return disk.locked(
        home.state / "runtime-install.lock",
        what="another installation of the runtime",
        limit_s=_LOCK_S,
        report=report,
    )


@contextmanager
def scratch(home: Home) -> Iterator[Path]:
    """Give a folder beside the target: a rename out of it is atomic. Only in one's turn.

    What killed installations left goes first. May raise OSError.
    """
    sweep(home)
    home.runtimes.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home.runtimes))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sweep(home: Home) -> None:
    """Remove what killed installations left. Only in one's turn: then nobody is still at it."""
    for path in home.runtimes.glob(f"{_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
