"""Long names that a pull of ours makes and takes away again, though it is killed in between.

A model of a mirror has its long name until it gets its plain one. Whether that name was there
before, so that somebody uses it, can only be told before the pull: a mark says it after a kill.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.home import Home
from orchestrator.pull.turn import key_of
from orchestrator.runtime import disk
from orchestrator.server import Server
from orchestrator.source import Source


@contextmanager
def claimed(home: Home, server: Server, source: Source, model: str) -> Iterator[None]:
    """Take the long name away after the block, if it was not there before the first try.

    Only in one's turn. Raises DiskFull: no place for the mark.
    """
    long_name, final = source.name_of(model), source.final(model)
    if long_name == final:
        yield
        return
    mark = _mark(home, server, long_name)
    if not mark.exists() and server.find(long_name) is None:
        with disk.mapped(mark.parent):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(f"{long_name}\n", "utf-8")
    yield
    if mark.exists():
        server.delete(long_name)
        mark.unlink()


def _mark(home: Home, server: Server, long_name: str) -> Path:
    return home.state / "pulls" / f"{key_of(server.host, long_name)}.ours"
