"""Whose server answers at an address, how it is, and what can be seen of one that is not ours."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.home import Home
from orchestrator.machine import RuntimeKind
from orchestrator.runtime import proc
from orchestrator.runtime.address import is_loopback, server_host, split_host, version_at
from orchestrator.runtime.ending import orphans
from orchestrator.runtime.environment import models_path, shown_settings
from orchestrator.runtime.listener import listener_pid
from orchestrator.runtime.record import ours
from orchestrator.runtime.unit import SystemdUnit, systemd_unit

Owner = Literal["ours", "systemd", "foreign", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stranger:
    """Who listens at an address; None where another user's process hides it."""

    owner: Owner
    pid: int | None = None
    program: str | None = None
    kind: RuntimeKind | None = None
    models_path: str | None = None
    settings: Mapping[str, str]
    whose: str
    remedy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeStatus:
    """A server, or that there is none. None where it cannot be seen without more rights.

    `settings` are the variables that it was started with; `orphans` the pids of our runners that
    outlived their server, at any address.
    """

    host: str
    answering: bool
    version: str | None
    owner: Owner
    pid: int | None = None
    kind: RuntimeKind | None = None
    binary: str | None = None
    models_path: str | None = None
    log: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    orphans: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the status document (schema `runtime`)."""
        return {"schema": 1, **asdict(self), "orphans": list(self.orphans)}


def status(home: Home, environ: Mapping[str, str]) -> RuntimeStatus:
    """Return how the server that OLLAMA_HOST means is. Raises InvalidInput: a bad OLLAMA_HOST."""
    url = server_host(environ)
    version = version_at(url)
    left = tuple(process.pid for process in orphans(home))
    answering = version is not None
    if running := ours(home, url):
        return RuntimeStatus(
            host=url,
            answering=answering,
            version=version,
            owner="ours",
            pid=running.pid,
            kind=running.kind,
            binary=running.binary,
            models_path=running.models_path,
            log=running.log,
            settings=running.settings,
            orphans=left,
        )
    if not answering and listener_pid(url) is None:
        return RuntimeStatus(host=url, answering=False, version=None, owner="none", orphans=left)
    who = stranger(url)
    return RuntimeStatus(
        host=url,
        answering=answering,
        version=version,
        owner=who.owner,
        pid=who.pid,
        kind=who.kind,
        binary=who.program,
        models_path=who.models_path,
        settings=who.settings,
        orphans=left,
    )


def stranger(url: str) -> Stranger:
    """Return who listens at that URL, which is not a server of ours."""
    pid = listener_pid(url)
    unit = systemd_unit() if pid is not None or is_loopback(url) else None
    if unit and _belongs(unit, url, pid):
        return _service(unit, pid or unit.main_pid)
    if pid is None:
        return Stranger(
            owner="foreign",
            settings={},
            whose="a process of another user or another box",
            remedy="stop it where it was started",
        )
    return _foreign(pid)


def _belongs(unit: SystemdUnit, url: str, pid: int | None) -> bool:
    if not unit.active or unit.main_pid is None:
        return False
    if pid is not None:
        return pid == unit.main_pid
    # The owner of the socket is hidden: go by the port that the unit names.
    return unit.port == split_host(url)[1]


def _service(unit: SystemdUnit, pid: int | None) -> Stranger:
    user = unit.user or "root"
    return Stranger(
        owner="systemd",
        pid=pid,
        program=None if pid is None else proc.program(pid),
        kind="release",
        models_path=models_path({"HOME": _home_of(user), **unit.environment}),
        settings=shown_settings(unit.environment),
        whose=f"systemd's ({unit.name}, user {user}, pid {pid})",
        remedy="stop it with `sudo systemctl stop ollama`",
    )


def _foreign(pid: int) -> Stranger:
    user, home = proc.account(pid)
    env = proc.environ(pid) or {}
    if env:
        env.setdefault("HOME", home or "")
    program = proc.program(pid)
    name = Path(program).name if program else "unknown"
    return Stranger(
        owner="foreign",
        pid=pid,
        program=program,
        kind=proc.kind_of(program),
        models_path=models_path(env),
        settings=shown_settings(env),
        whose=f"of pid {pid} ({name}, user {user or 'unknown'})",
        remedy=f"stop it where it was started, or with `kill {pid}`",
    )


def _home_of(user: str) -> str:
    import pwd

    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return ""
