"""Stop servers that we started, and never any other."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidInput, ServerRefused, ServerUnreachable
from orchestrator.home import Home
from orchestrator.runtime import disk, lock, record
from orchestrator.runtime.address import is_loopback, parse_host, version_at
from orchestrator.runtime.listener import listener_pid
from orchestrator.runtime.orphan import end_orphans
from orchestrator.runtime.owner import stranger
from orchestrator.runtime.record import Running, ours

if TYPE_CHECKING:
    import psutil

Report = Callable[[str], None]
LOCK_S = 120.0
_TERM_S = 10.0
_KILL_S = 5.0
_TELL_S = 3.0

# Servers that this very process has started: a dead child stays a zombie until it is waited for.
CHILDREN: dict[int, "subprocess.Popen[bytes]"] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """The servers that were ended, and the pids of runners that had outlived theirs."""

    servers: tuple[Running, ...] = ()
    orphans: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        servers = [{"host": s.host, "pid": s.pid} for s in self.servers]
        return {"schema": 1, "stopped": servers, "orphans": list(self.orphans)}


def stop(home: Home, *, host: str | None = None, report: Report) -> Stopped:
    """Stop our server at `host`, or all of ours, and runners that outlived one. Safe to repeat.

    Raises InvalidInput: the server at `host` is not ours, with whose it is and how to stop it;
    ServerRefused: a process does not end; Busy: another start or stop there does not end.
    """
    url = parse_host(host) if host else None
    servers: list[Running] = []
    for one in [url] if url else _recorded(home):
        if not is_loopback(one):
            _refuse_foreign(home, one)
            continue
        with (
            disk.mapped(home.state, ServerUnreachable),
            lock.held(
                lock_file(home, one),
                what=f"another start or stop of the server at {one}",
                limit_s=LOCK_S,
                report=report,
            ),
        ):
            running = ours(home, one)
            if running:
                end(running, report)
                servers.append(running)
            record.pid_file(home, one).unlink(missing_ok=True)
        if url and not running:
            _refuse_foreign(home, url)
    return Stopped(servers=tuple(servers), orphans=end_orphans(home, url))


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


def lock_file(home: Home, url: str) -> Path:
    """Return the lock that starting and stopping take: one a port."""
    return record.pid_file(home, url).with_suffix(".lock")


def _recorded(home: Home) -> list[str]:
    """Return the URLs of all pid files; of a torn one by the port in its name."""
    found: list[str] = []
    for path in sorted(home.state.glob("server-*.json")):
        running = record.read(path)
        port = path.stem.removeprefix("server-")
        if running:
            found.append(running.host)
        elif port.isdecimal():
            found.append(f"http://127.0.0.1:{port}")
    return found


def _refuse_foreign(home: Home, url: str) -> None:
    """Raise InvalidInput if a server answers there: it is not ours to stop."""
    version = version_at(url)
    if version is None and listener_pid(url) is None:
        return
    who = stranger(home, url)
    program = f"an Ollama {version}" if version else "no Ollama server"
    raise InvalidInput(
        f"deploy did not start what listens at {url} ({program}): it is {who.whose}",
        hint=who.remedy,
        pid=who.pid,
    )


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
