"""The Ollama program on this box: find it, install one, start and stop a server.

Every server that deploy starts listens on loopback, is recorded in a pid file, and carries a mark
in its environment; only those are ever stopped.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.runtime.address import server_host
    from orchestrator.runtime.binary import Binary, installed
    from orchestrator.runtime.embedded import install
    from orchestrator.runtime.lifecycle import Stopped, refuse_start, start, stop
    from orchestrator.runtime.listener import listener_pid
    from orchestrator.runtime.owner import RuntimeStatus, status
    from orchestrator.runtime.record import Running, ours
    from orchestrator.runtime.runner import Runner, runners_of
    from orchestrator.runtime.unit import SystemdUnit, systemd_unit

Report = Callable[[str], None]
"""Told what a long step is doing, a line at a time."""

_HOMES = {
    "address": "server_host",
    "binary": "Binary installed",
    "embedded": "install",
    "lifecycle": "Stopped refuse_start start stop",
    "listener": "listener_pid",
    "owner": "RuntimeStatus status",
    "record": "Running ours",
    "runner": "Runner runners_of",
    "unit": "SystemdUnit systemd_unit",
}

__all__ = [
    "Binary",
    "Report",
    "Runner",
    "Running",
    "RuntimeStatus",
    "Stopped",
    "SystemdUnit",
    "install",
    "installed",
    "listener_pid",
    "ours",
    "refuse_start",
    "runners_of",
    "server_host",
    "start",
    "status",
    "stop",
    "systemd_unit",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # whatever the module exports
    """Import a name when it is first used: `deploy plan` needs few of them, and quickly."""
    for module, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
