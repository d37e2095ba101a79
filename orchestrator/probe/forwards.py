"""Ports of this box that somebody accepts for another place: a container, another host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from orchestrator.machine import Whereabouts
from orchestrator.probe.sight import whole
from orchestrator.runtime.proc import PROC, comm, command, pids

_DOCKER = "docker-proxy"
# Programs that accept a connection for somebody elsewhere, by the names that /proc gives them.
FORWARDERS: Mapping[str, Whereabouts] = {
    _DOCKER: "container",
    "rootlessport": "container",
    "rootlesskit": "container",
    "slirp4netns": "container",
    "gvproxy": "container",
    "conmon": "container",
    "pasta": "container",
    "passt": "container",  # codespell:ignore passt
    "ssh": "remote",
    "sshd": "remote",
    "sshd-session": "remote",
    "autossh": "remote",
    "kubectl": "remote",
    "socat": "remote",
    "nginx": "remote",
    "haproxy": "remote",
    "caddy": "remote",
    "traefik": "remote",
    "envoy": "remote",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """A port of this box that Docker forwards to a port of a container."""

    host: str
    port: int
    container: str
    container_port: int


def forwards(proc: Path = PROC) -> tuple[Forward, ...]:
    """Return what Docker forwards: its proxies belong to root, their command lines are public."""
    proxies = (command(pid, proc) for pid in pids(proc) if comm(pid, proc) == _DOCKER)
    return tuple(found for each in proxies if (found := _forward(each)))


def _forward(arguments: Sequence[str]) -> Forward | None:
    said = dict(pairwise(arguments))
    port, container_port = (
        whole(said.get(f"-{name}", "")) for name in ("host-port", "container-port")
    )
    if not port or not container_port or said.get("-proto") != "tcp":
        return None
    return Forward(
        host=said.get("-host-ip", "0.0.0.0"),  # noqa: S104
        port=port,
        container=said.get("-container-ip", ""),
        container_port=container_port,
    )
