"""Long names that a pull of ours makes and takes away again, though it is killed in between.

A model of a mirror has its long name until it gets its plain one. Whether that name was there
before, so that somebody uses it, can only be told before the pull: a mark says it after a kill.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.pull.turn import key_of, turn
from orchestrator.runtime import disk
from orchestrator.server import Server
from orchestrator.source import Pulled, Renaming, Source


def fetched(home: Home, server: Server, source: Source, model: str, progress: Progress) -> Pulled:
    """Pull in one's turn, and leave no long name. Raises what the pull raises, and Busy."""
    with (
        turn(home, server.host, source.final(model), progress),
        claimed(home, server, source, model),
    ):
        return source.pull(model, progress)


@contextmanager
def claimed(home: Home, server: Server, source: Source, model: str) -> Iterator[None]:
    """Take the long names away after the block that were not there before the first try.

    Only in one's turn. Raises DiskFull: no place for a mark.
    """
    names = source.long_names(model) if isinstance(source, Renaming) else ()
    final = source.final(model)
    marks = {name: _mark(home, server, name) for name in names if name != final}
    for name, mark in marks.items():
        if not mark.exists() and server.find(name) is None:
            with disk.mapped(mark.parent):
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.write_text(f"{name}\n", "utf-8")
    yield
    for name, mark in marks.items():
        if mark.exists():
            server.delete(name)
            mark.unlink()


def _mark(home: Home, server: Server, long_name: str) -> Path:
    return home.state / "pulls" / f"{key_of(server.host, long_name)}.ours"
