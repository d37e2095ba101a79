"""Runners of our servers whose server is gone: they hold a model's memory for nobody."""

from typing import TYPE_CHECKING

from orchestrator.home import Home
from orchestrator.runtime import record
from orchestrator.runtime.listener import is_runner

if TYPE_CHECKING:
    import psutil

_END_S = 5.0


def orphans(home: Home, host: str | None = None) -> list["psutil.Process"]:
    """Return runners with a mark of this home (of the server at `host`) that lost their server.

    The mark decides, not the parent's number: orphans are adopted by pid 1, by a session's
    systemd, or by a container's first process, which may itself be somebody's server.
    """
    prefix = str(record.pid_file(home, host)) + "#" if host else f"{home.state}/server-"
    return [p for p, command in record.marked(prefix) if is_runner(command) and _lost(p)]


def end_orphans(home: Home, host: str | None = None) -> tuple[int, ...]:
    """End them and return their pids."""
    import psutil

    found = orphans(home, host)
    for process in found:
        try:
            process.kill()  # nothing to save, and no one to tell it to finish
        except psutil.Error:
            continue
    psutil.wait_procs(found, timeout=_END_S)
    return tuple(process.pid for process in found)


def _lost(process: "psutil.Process") -> bool:
    import psutil

    try:
        parent = process.parent()
        return (
            parent is None
            or not record.alive(parent)
            or record.mark_of(parent) != record.mark_of(process)
        )
    except psutil.AccessDenied:  # another user's process cannot be a server that we started
        return True
    except psutil.NoSuchProcess:
        return False
