"""Processes around a server: who listens on its port, and which runners it has started."""

import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from orchestrator.runtime.address import split_host


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """A child of the server that holds one model; `create_time` in seconds since the epoch."""

    pid: int
    model: str | None  # the blob that it was started with
    create_time: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def listener_pid(host_url: str) -> int | None:
    """Return the local process that listens at that URL; None: nobody, elsewhere, or hidden.

    Without root the kernel hides other users' sockets owners (macOS: all of them).
    """
    import psutil

    host, port = split_host(host_url)
    if not _local(host):
        return None
    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError, RuntimeError):
        return None
    wanted = [
        (_exactness(s.laddr.ip, host), s.pid)
        for s in sockets
        if s.status == psutil.CONN_LISTEN and s.pid and s.laddr and s.laddr.port == port
    ]
    return max(((rank, pid) for rank, pid in wanted if rank), default=(0, None))[1]


def runners_of(pid: int) -> list[Runner]:
    """Return the runners that descend from a server, in the order of their start."""
    import psutil

    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    found: list[Runner] = []
    for child in children:
        try:
            command = child.cmdline()
            if is_runner(command):
                started = child.create_time()
                found.append(Runner(pid=child.pid, model=_model(command), create_time=started))
        except psutil.Error:  # it ended while we looked
            continue
    return sorted(found, key=lambda runner: runner.create_time)


def is_runner(command: Sequence[str]) -> bool:
    """Say whether that command line is a runner: `ollama runner …` or `llama-server …`."""
    if not command:
        return False
    program = PurePath(command[0]).name
    return program.startswith("llama-server") or (
        program.startswith("ollama") and "runner" in command[1:3]
    )


def _model(command: Sequence[str]) -> str | None:
    for flag, value in itertools.pairwise(command):
        if flag in {"--model", "-m"}:
            return value
    return None


def _local(host: str) -> bool:
    """Say whether the address is one of this box; a name other than localhost is not asked for."""
    import psutil

    if host == "localhost":
        return True
    try:
        if ipaddress.ip_address(host).is_loopback:
            return True
    except ValueError:
        return False
    cards = psutil.net_if_addrs().values()
    return any(a.address.partition("%")[0] == host for card in cards for a in card)


def _exactness(listens: str, host: str) -> int:
    """Rank a listening address: 2 the one that was asked for, 1 all addresses, 0 another one."""
    address = ipaddress.ip_address(listens.partition("%")[0])
    if host == "localhost":
        return 2 if address.is_loopback else int(address.is_unspecified)
    wanted = ipaddress.ip_address(host)
    if address == wanted:
        return 2
    # "::" takes IPv4 as well, unless the program asked for IPv6 only: Go's does not.
    return int(address.is_unspecified and (address.version == 6 or wanted.version == 4))
