"""Whose server answers at an address, and what can be seen of one that is not ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.errors import InvalidInput
from orchestrator.home import Home
from orchestrator.machine import RuntimeKind
from orchestrator.runtime.address import is_loopback, server_host, split_host
from orchestrator.runtime.environment import models_path, shown_settings
from orchestrator.runtime.find import SystemdUnit, systemd_unit
from orchestrator.runtime.listener import listener_pid

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


def stranger(home: Home, url: str) -> Stranger:
    """Return who listens at that URL, which is not a server of ours."""
    pid = listener_pid(url)
    unit = systemd_unit() if _here(url) else None
    if unit and _belongs(unit, url, pid):
        return _service(unit, pid or unit.main_pid)
    if pid is None:
        return Stranger(
            owner="foreign",
            settings={},
            whose="a process of another user or another box",
            remedy="stop it where it was started",
        )
    return _process(home, pid)


def _belongs(unit: SystemdUnit, url: str, pid: int | None) -> bool:
    if not unit.active or unit.main_pid is None:
        return False
    if pid is not None:
        return pid == unit.main_pid
    try:  # the owner of the socket is hidden: go by the port that the unit names
        return split_host(server_host(unit.environment))[1] == split_host(url)[1]
    except InvalidInput:
        return False


def _here(url: str) -> bool:
    return is_loopback(url) or listener_pid(url) is not None


def _service(unit: SystemdUnit, pid: int | None) -> Stranger:
    return Stranger(
        owner="systemd",
        pid=pid,
        program=_program(pid),
        kind="release",
        models_path=models_path({"HOME": _home_of(unit.user or "root"), **unit.environment}),
        settings=shown_settings(unit.environment),
        whose=f"systemd's ({unit.name}, user {unit.user or 'root'}, pid {pid})",
        remedy="stop it with `sudo systemctl stop ollama`",
    )


def _process(home: Home, pid: int) -> Stranger:
    import psutil

    user, env = "unknown", dict[str, str]()
    try:
        process = psutil.Process(pid)
        user = process.username()
        env = process.environ()
    except (psutil.Error, OSError):  # gone, or another user's
        pass
    if env and "HOME" not in env:
        env["HOME"] = _home_of(user)
    program = _program(pid)
    embedded = program is not None and Path(program).is_relative_to(home.runtimes)
    return Stranger(
        owner="foreign",
        pid=pid,
        program=program,
        kind="embedded" if embedded else "release",
        models_path=models_path(env),
        settings=shown_settings(env),
        whose=f"of pid {pid} ({Path(program).name if program else 'unknown'}, user {user})",
        remedy=f"stop it where it was started, or with `kill {pid}`",
    )


def _program(pid: int | None) -> str | None:
    import psutil

    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return None
    for look in (process.exe, lambda: process.cmdline()[0]):
        try:
            if found := look():
                return str(found)
        except (psutil.Error, OSError, IndexError):
            continue
    return None


def _home_of(user: str) -> str:
    import pwd

    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return ""
