"""The server's process: what /proc and systemd reveal of an Ollama server on this machine."""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.machine import RuntimeKind, ServerSettings, Whereabouts
from orchestrator.probe.forwards import FORWARDERS, forwards
from orchestrator.probe.rights import Rights
from orchestrator.probe.settings import settings_of
from orchestrator.probe.sight import whole
from orchestrator.runtime.listener import Listener, is_here, listener_at
from orchestrator.runtime.proc import (
    PROC,
    account,
    comm,
    contained,
    environ,
    kind_of,
    parent,
    program,
    read_text,
    status,
)
from orchestrator.runtime.runner import Runner, runners_of
from orchestrator.runtime.unit import SystemdUnit, systemd_unit

# Control groups that container engines make, with the number or the name of the container.
_CONTAINER = re.compile(
    r"/(?:(?:docker|libpod|crio|cri-containerd)-|docker/)[0-9a-f]{12,}|/kubepods\S*"
    r"|/lxc(?:\.payload)?[./]\S+"
)
# The last part of a control group's path, where a unit owns it. Whatever cron starts stays in
# cron's, and a session's manager is no server's unit.
_UNIT = re.compile(r"/(?!cron|user@)[^/\s]+\.service$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerProcess:
    """A server that runs on this machine. `same_namespaces` is None where that cannot be seen;
    `environ_known` says that its environment could be read, `settings_known` that this or all of
    its unit's could.

    `uid` and `groups` decide which devices it may open: the groups with its primary one.
    """

    pid: int
    user: str | None = None
    home: str | None = None
    kind: RuntimeKind = "release"
    settings: ServerSettings = field(default_factory=ServerSettings)
    settings_known: bool = False
    environ_known: bool = False
    same_namespaces: bool | None = None
    runners: tuple[Runner, ...] = ()
    where: Whereabouts = "process"
    uid: int | None = None
    groups: frozenset[int] | None = None

    @property
    def rights(self) -> Rights:
        """What files it may use."""
        return Rights(self.uid, self.groups)


def read_process(host_url: str, *, proc: Path = PROC) -> ServerProcess | None:
    """Return the process that answers at a URL, None where it is elsewhere or not ours to see.

    Never raises. A port that a container engine or a tunnel forwards is elsewhere. The server of
    another user is found by its name and the socket's owner, or as the main process of its unit.
    """
    found = listener_at(host_url, proc)
    if found is None:
        return None
    if found.pid is not None:
        elsewhere = comm(found.pid, proc) in FORWARDERS
        return None if elsewhere else _process(found.pid, found, None, proc)
    # The unit's server is ours to name only if the port is the unit's, and the socket its user's.
    unit = systemd_unit(proc.parent)
    if unit and unit.main_pid and unit.port == found.port:
        uid, _ = _rights(unit.main_pid, proc)
        return _process(unit.main_pid, found, unit, proc) if uid in (None, found.uid) else None
    return None


def is_local(
    host_url: str, process: ServerProcess | None, *, answers: bool, proc: Path = PROC
) -> bool:
    """Say whether the probe looked at the server's own machine.

    A container that we are not in is elsewhere. On a loopback address so is a server that answers
    and whose process is hidden: it may be a container's. Where nothing answers, a server would be
    started here.
    """
    if not is_here(host_url):
        return False
    if process:
        return process.same_namespaces is not False and process.where != "container"
    return not answers or not (proc / "net" / "tcp").exists()


def whereabouts(
    host_url: str, process: ServerProcess | None, *, proc: Path = PROC
) -> Whereabouts | None:
    """Return where a server runs, by its process or by who forwards its port; None: unknown."""
    if process:
        return process.where
    if not is_here(host_url):
        return "remote"
    found = listener_at(host_url, proc)
    if found is None:
        return None
    if found.pid is not None:
        return FORWARDERS.get(comm(found.pid, proc))
    # Docker's proxies are root's, so their sockets are hidden from most users.
    return "container" if any(each.port == found.port for each in forwards(proc)) else None


def where_runs(
    pid: int, env: Mapping[str, str] | None, *, same_namespaces: bool | None, proc: Path = PROC
) -> Whereabouts:
    """Return how a process of this box runs, as far as /proc tells; `env` None: it is hidden."""
    if same_namespaces is False or _container(str(pid), proc) not in (
        None,
        _container("self", proc),
    ):
        return "container"
    # systemd names the process that it starts itself; a child inherits the number of another.
    if told := (env or {}).get("SYSTEMD_EXEC_PID"):
        return "systemd" if told == str(pid) else "process"
    mother = whole(parent(pid, proc)) or 0
    by_systemd = comm(mother, proc) == "systemd" and _UNIT.search(
        _groups_of_control(str(pid), proc)
    )
    return "systemd" if by_systemd else "process"


def sees_our_files(pid: int, proc: Path = PROC) -> bool | None:
    """Say whether a process sees the processes and files that we see: it is in no other container.

    Its root is compared, not its mount namespace: systemd gives hardened units one of their own
    that still shows the host's files. None: that cannot be seen.
    """
    if contained(pid, proc):
        return False
    with contextlib.suppress(OSError):
        theirs = (proc / str(pid) / "root").stat()
        return os.path.samestat(theirs, Path("/").stat())
    return None


def _process(pid: int, found: Listener, unit: SystemdUnit | None, proc: Path) -> ServerProcess:
    own, same = environ(pid, proc), sees_our_files(pid, proc)
    if own is None:
        unit = unit or systemd_unit(proc.parent)
    its = unit if unit and unit.main_pid == pid else None
    env: Mapping[str, str] = (its.environment if its else {}) if own is None else own
    user, home = account(pid, proc)
    uid, groups = _rights(pid, proc)
    return ServerProcess(
        pid=pid,
        user=user or (its.user if its else None),
        home=env.get("HOME") or home,
        kind=kind_of(program(pid, proc)),
        # The socket knows better than a variable, which may be hidden or no address at all.
        settings=replace(settings_of(env), listens_everywhere=found.address.is_unspecified),
        settings_known=own is not None or (its is not None and its.environment_known),
        environ_known=own is not None,
        same_namespaces=same,
        runners=runners_of(pid, proc),
        where="systemd" if its else where_runs(pid, own, same_namespaces=same, proc=proc),
        uid=uid,
        groups=groups,
    )


def _rights(pid: int, proc: Path) -> tuple[int | None, frozenset[int] | None]:
    """Return the effective user, and all groups, by their numbers; None: hidden."""
    said = status(pid, proc)
    ids = [said.get(name, "").split()[1:2] for name in ("Uid", "Gid")]
    uid, gid = (whole(each[0]) if each else None for each in ids)
    if gid is None or "Groups" not in said:
        return uid, None
    more = (whole(each) for each in said["Groups"].split())
    return uid, frozenset({gid, *(each for each in more if each is not None)})


def _container(pid: str, proc: Path) -> str | None:
    """Return what names the container of a process; None: it is in none."""
    found = _CONTAINER.search(_groups_of_control(pid, proc))
    return found[0] if found else None


def _groups_of_control(pid: str, proc: Path) -> str:
    return read_text(f"{proc}/{pid}/cgroup")
