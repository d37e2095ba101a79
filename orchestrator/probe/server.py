"""The server's process: what /proc and systemd reveal of an Ollama server on this machine."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.machine import RuntimeKind, ServerSettings
from orchestrator.probe.settings import settings_of
from orchestrator.runtime.listener import is_here, listener_at
from orchestrator.runtime.proc import PROC, account, comm, environ, kind_of, program, status
from orchestrator.runtime.runner import Runner, runners_of
from orchestrator.runtime.unit import SystemdUnit, systemd_unit

# Programs that accept a connection for somebody elsewhere: a container, another host.
_FORWARDERS = frozenset({
    "docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "gvproxy", "conmon",
    "pasta", "passt",  # codespell:ignore passt
    "ssh", "sshd", "autossh", "kubectl", "socat", "nginx", "haproxy", "caddy", "traefik", "envoy",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerProcess:
    """A server that runs on this machine. `same_namespaces` is None where that cannot be seen;
    `settings_known` says that its environment (or its unit's) could be read.
    """

    pid: int
    user: str | None = None
    home: str | None = None
    kind: RuntimeKind = "release"
    settings: ServerSettings = field(default_factory=ServerSettings)
    settings_known: bool = False
    same_namespaces: bool | None = None
    runners: tuple[Runner, ...] = ()


def read_process(host_url: str, *, proc: Path = PROC) -> ServerProcess | None:
    """Return the process that answers at a URL, None where it is elsewhere or not ours to see.

    Never raises. A port that a container engine or a tunnel forwards is elsewhere. The server of
    another user is found by its name and the socket's owner, or as the main process of its unit.
    """
    found = listener_at(host_url, proc)
    if found is None:
        return None
    if found.pid is not None:
        return None if comm(found.pid, proc) in _FORWARDERS else _process(found.pid, proc, None)
    # The unit's server is ours to name only if the port is the unit's.
    unit = systemd_unit(proc.parent)
    if unit and unit.main_pid and unit.port == found.port:
        return _process(unit.main_pid, proc, unit)
    return None


def is_local(
    host_url: str, process: ServerProcess | None, *, answers: bool, proc: Path = PROC
) -> bool:
    """Say whether the probe looked at the server's own machine.

    On a loopback address a server that answers and whose process is hidden counts as elsewhere:
    it may be a container's. Where nothing answers, a server would be started here.
    """
    if not is_here(host_url):
        return False
    return process is not None or not answers or not (proc / "net" / "tcp").exists()


def _process(pid: int, proc: Path, unit: SystemdUnit | None) -> ServerProcess:
    env: Mapping[str, str] | None = environ(pid, proc)
    if env is None and (unit := unit or systemd_unit(proc.parent)) and unit.main_pid == pid:
        env = unit.environment
    user, home = account(pid, proc)
    return ServerProcess(
        pid=pid,
        user=user or (unit.user if unit else None),
        home=(env or {}).get("HOME") or home,
        kind=kind_of(program(pid, proc)),
        settings=settings_of(env or {}),
        settings_known=env is not None,
        same_namespaces=_same_namespaces(pid, proc),
        runners=runners_of(pid, proc),
    )


def _same_namespaces(pid: int, proc: Path) -> bool | None:
    """Say whether a process sees the processes and files that we see: it is in no other container.

    Its root is compared, not its mount namespace: systemd gives hardened units one of their own
    that still shows the host's files.
    """
    depth = [len(status(p, proc).get("NSpid", "").split()) for p in (pid, os.getpid())]
    if all(depth) and depth[0] != depth[1]:
        return False
    with contextlib.suppress(OSError):
        theirs = (proc / str(pid) / "root").stat()
        return os.path.samestat(theirs, Path("/").stat())
    return None
