"""The pid file of a server that we started, and whether that server still lives.

The file is written before the server exists and names a mark that the server carries in its
environment. So a server whose starter was killed at any instant is found again, and a process
that got the pid of a dead one is never taken for it.
"""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestrator.home import Home
from orchestrator.machine import RuntimeKind
from orchestrator.runtime.address import is_loopback, split_host
from orchestrator.runtime.environment import MARK

if TYPE_CHECKING:
    import psutil

_SAME_START_S = 1.0  # the resolution of a process's start time, with a clock that is being set


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A server of ours. `create_time` is its start in seconds since the epoch."""

    host: str
    pid: int
    pgid: int
    create_time: float
    kind: RuntimeKind
    binary: str
    log: str
    models_path: str | None
    settings: Mapping[str, str]
    mark: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values: the pid file."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self | None:
        """Return what a pid file says; None: it is not one of ours."""
        try:
            return cls(
                host=str(found["host"]),
                pid=int(found["pid"]),
                pgid=int(found["pgid"]),
                create_time=float(found["create_time"]),
                kind="embedded" if found["kind"] == "embedded" else "release",
                binary=str(found["binary"]),
                log=str(found["log"]),
                models_path=found["models_path"],
                settings=dict(found["settings"]),
                mark=str(found["mark"]),
            )
        except (KeyError, TypeError, ValueError):
            return None


def pid_file(home: Home, url: str) -> Path:
    """Return where the server at that URL is recorded: one server a port."""
    return home.state / f"server-{split_host(url)[1]}.json"


def new_mark(home: Home, url: str) -> str:
    """Return a mark for a server that is about to start."""
    return f"{pid_file(home, url)}#{uuid.uuid4().hex}"


def write(path: Path, running: Running) -> None:
    """Write the pid file in one step."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(running.to_json(), indent=1) + "\n")
    beside.replace(path)


def read(path: Path) -> Running | None:
    """Return what the pid file says, whether or not the server lives."""
    try:
        return Running.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


def ours(home: Home, host: str) -> Running | None:
    """Return the server at that URL if we started it and it lives."""
    recorded = read(pid_file(home, host))
    if recorded is None or not is_loopback(host) or not _same_host(recorded.host, host):
        return None
    process = _process(recorded)
    if process is None:
        return None
    started = process.create_time()
    return replace(recorded, pid=process.pid, pgid=process.pid, create_time=started)


def marked(prefix: str) -> Iterator[tuple["psutil.Process", list[str]]]:
    """Yield the living processes, with their command lines, whose mark begins like that."""
    import psutil

    for process in psutil.process_iter():
        try:
            if mark_of(process).startswith(prefix) and alive(process):
                yield process, process.cmdline()
        except psutil.Error:  # another user's, or it ended while we looked
            continue


def mark_of(process: "psutil.Process") -> str:
    """Return the mark in a process's environment, or "". May raise psutil.Error."""
    return process.environ().get(MARK, "")


def alive(process: "psutil.Process") -> bool:
    """Say whether a process runs; a dead child that nobody has waited for does not."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _process(recorded: Running) -> "psutil.Process | None":
    import psutil

    if recorded.pid == 0:  # its starter died between writing the file and noting the pid
        found = (p for p, command in marked(recorded.mark) if command[1:2] == ["serve"])
        return next(found, None)
    try:
        process = psutil.Process(recorded.pid)
        return process if alive(process) and _is(process, recorded) else None
    except psutil.Error:
        return None


def _is(process: "psutil.Process", recorded: Running) -> bool:
    import psutil

    try:
        return mark_of(process) == recorded.mark
    except psutil.AccessDenied:
        return abs(process.create_time() - recorded.create_time) < _SAME_START_S


def _same_host(a: str, b: str) -> bool:
    names = {split_host(a)[0], split_host(b)[0]}
    return len(names) == 1 or "localhost" in names
