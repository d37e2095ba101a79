"""End what we started: a server with its runners, and runners that outlived their server."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import ServerRefused
from orchestrator.home import Home
from orchestrator.runtime import Report, record
from orchestrator.runtime.record import Running
from orchestrator.runtime.runner import is_runner

if TYPE_CHECKING:
    import psutil

_TERM_S = 10.0
_KILL_S = 5.0
_TELL_S = 3.0

# Servers that this very process has started: a dead child stays a zombie until it is waited for.
CHILDREN: dict[int, "subprocess.Popen[bytes]"] = {}


def end(running: Running, report: Report) -> None:
    """End a server and its runners: SIGTERM, and SIGKILL for what is left after 10 s.

    The caller has made sure that the pid is still that server's. Raises ServerRefused: a process
    does not end.
    """
    report(f"ending the server at {running.host} (pid {running.pid})")
    tree = _tree(running.pid)
    _signal(running, tree, signal.SIGTERM)
    left = _wait(tree, _TERM_S, report)
    if left:
        _signal(running, left, signal.SIGKILL)
        left = _wait(left, _KILL_S, report)
    if child := CHILDREN.pop(running.pid, None):
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=_KILL_S)  # ours to bury
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise ServerRefused(
            f"the server at {running.host} does not end: pid {pids} ignores SIGKILL",
            hint="it waits for a device or a disk; only a reboot ends that",
        )


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
    psutil.wait_procs(found, timeout=_KILL_S)
    return tuple(process.pid for process in found)


def _tree(pid: int) -> list["psutil.Process"]:
    import psutil

    try:
        server = psutil.Process(pid)
        return [server, *server.children(recursive=True)]
    except psutil.Error:
        return []


def _signal(running: Running, processes: Iterable["psutil.Process"], number: int) -> None:
    import psutil

    # The group holds what a runner may have started; the list what may have left the group.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pgid, number)
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def _wait(
    processes: list["psutil.Process"], limit_s: float, report: Report
) -> list["psutil.Process"]:
    import psutil

    end_at = time.monotonic() + limit_s
    left = processes
    while left and (rest := end_at - time.monotonic()) > 0:
        _, left = psutil.wait_procs(left, timeout=min(rest, _TELL_S))
        if left:
            report(f"waiting for {len(left)} processes to end")
    return left


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
