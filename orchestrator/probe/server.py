"""The server's process: what /proc and systemd reveal of an Ollama server on this machine."""

import contextlib
import ipaddress
import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.machine import RuntimeKind, ServerSettings
from orchestrator.probe.settings import settings_of
from orchestrator.probe.sockets import Address, comm, command, listener, processes, status
from orchestrator.probe.unit import Unit, ollama_unit
from orchestrator.units import KIB

_PROC = Path("/proc")
_DEFAULT_PORT = 11434
# Programs that accept a connection for somebody elsewhere: a container, another host.
_FORWARDERS = frozenset({
    "docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "passt", "gvproxy",
    "conmon", "ssh", "sshd", "autossh", "kubectl", "socat", "nginx", "haproxy", "caddy", "traefik",
    "envoy",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """A child that holds a model. Sizes in bytes; `blob` is its model file's digest."""

    pid: int
    rss_bytes: int | None
    peak_rss_bytes: int | None
    model_path: str

    @property
    def blob(self) -> str | None:
        """The blob's digest as registries write it, None for a file outside of a store."""
        name = Path(self.model_path).name
        return name.replace("-", ":", 1) if name.startswith("sha256-") else None


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


def read_process(host_url: str, *, proc: Path = _PROC) -> ServerProcess | None:
    """Return the process that answers at a URL, None where it is elsewhere or not ours to see.

    Never raises. A port that a container engine or a tunnel forwards is elsewhere. The server of
    another user is found by its name and the socket's owner, or as the main process of its unit.
    """
    if not is_here(host_url):
        return None
    name, port = _split(host_url)
    address = _address(name)
    # "Any address" and a name of ours mean loopback to a client.
    loopback = address is None or address.is_unspecified
    found = listener(port, None if loopback else address, proc)
    if found and found.pid is not None:
        if comm(found.pid, proc) in _FORWARDERS:
            return None
        return _process(found.pid, proc, None)
    # The unit's server is ours to name only if the port is the unit's.
    unit = ollama_unit(proc.parent)
    if found and unit and unit.main_pid and unit.port == port:
        return _process(unit.main_pid, proc, unit)
    return None


def is_local(
    host_url: str, process: ServerProcess | None, *, answers: bool, proc: Path = _PROC
) -> bool:
    """Say whether the probe looked at the server's own machine.

    On a loopback address a server that answers and whose process is hidden counts as elsewhere:
    it may be a container's. Where nothing answers, a server would be started here.
    """
    if not is_here(host_url):
        return False
    return process is not None or not answers or not (proc / "net" / "tcp").exists()


def is_here(host_url: str) -> bool:
    """Say whether a URL's host is a loopback address or one of our interfaces'."""
    name, _ = _split(host_url)
    address = _address(name)
    if address is None:
        return name in ("", "localhost", socket.gethostname().lower())
    if address.is_loopback or address.is_unspecified:
        return True
    import psutil

    interfaces = psutil.net_if_addrs().values()
    return str(address) in {a.address.partition("%")[0] for own in interfaces for a in own}


def _split(host_url: str) -> tuple[str, int]:
    """Return the host in lower case and the port, Ollama's where the URL names none."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(host_url if "//" in host_url else f"//{host_url}")
        plain = {"http": 80, "https": 443}.get(parts.scheme, _DEFAULT_PORT)
        return parts.hostname or "", parts.port or plain
    return host_url, _DEFAULT_PORT


def _address(name: str) -> Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name)
    return None


def _process(pid: int, proc: Path, unit: Unit | None) -> ServerProcess:
    environ = _environ(pid, proc)
    if environ is None and (unit := unit or ollama_unit(proc.parent)) and unit.main_pid == pid:
        environ = unit.environ
    user, home = _account(status(pid, proc).get("Uid", ""))
    return ServerProcess(
        pid=pid,
        user=user or (unit.user if unit else None),
        home=(environ or {}).get("HOME") or home,
        kind="embedded" if _program(pid, proc) == "ollama-lib" else "release",
        settings=settings_of(environ or {}),
        settings_known=environ is not None,
        same_namespaces=_same_namespaces(pid, proc),
        runners=_runners(pid, proc),
    )


def _environ(pid: int, proc: Path) -> Mapping[str, str] | None:
    """Return the environment that a process was started with; None: not ours to read."""
    with contextlib.suppress(OSError):
        text = (proc / str(pid) / "environ").read_bytes().decode("utf-8", "replace")
        return dict(each.split("=", 1) for each in text.split("\0") if "=" in each)
    return None


def _account(uids: str) -> tuple[str | None, str | None]:
    with contextlib.suppress(KeyError, ValueError, IndexError):
        entry = pwd.getpwuid(int(uids.split()[1]))
        return entry.pw_name, entry.pw_dir
    return None, None


def _program(pid: int, proc: Path) -> str:
    """Return the file name of what a process runs, even if that file was replaced meanwhile."""
    path = command(pid, proc)[0]
    with contextlib.suppress(OSError):
        path = os.readlink(proc / str(pid) / "exe")  # noqa: PTH115
    return Path(path.removesuffix(" (deleted)")).name


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


def _runners(server: int, proc: Path) -> tuple[Runner, ...]:
    found = []
    for pid in processes(proc):
        facts = status(pid, proc)
        if facts.get("PPid") != str(server):
            continue
        model = _model_path(command(pid, proc))
        if model:
            rss, peak = _kib(facts.get("VmRSS")), _kib(facts.get("VmHWM"))
            found.append(Runner(pid=pid, rss_bytes=rss, peak_rss_bytes=peak, model_path=model))
    return tuple(found)


def _model_path(arguments: list[str]) -> str | None:
    for number, argument in enumerate(arguments):
        if argument == "--model" and number + 1 < len(arguments):
            return arguments[number + 1]
        if argument.startswith("--model="):
            return argument.removeprefix("--model=")
    return None


def _kib(text: str | None) -> int | None:
    number = (text or "").split(" ")[0]
    return int(number) * KIB if number.isdecimal() else None
