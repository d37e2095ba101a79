"""The Ollama program on this box: find it, install one, start and stop a server.

Every server that deploy starts listens on loopback, is recorded in a pid file, and carries a mark
in its environment; only those are ever stopped.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.runtime.embedded import install
    from orchestrator.runtime.find import (
        Binary,
        Runner,
        SystemdUnit,
        installed,
        listener_pid,
        runners_of,
        server_host,
        systemd_unit,
    )
    from orchestrator.runtime.process import (
        Running,
        RuntimeStatus,
        Stopped,
        ours,
        start,
        status,
        stop,
    )

_HOMES = {
    "find": (
        "Binary Runner SystemdUnit installed listener_pid runners_of server_host systemd_unit"
    ),
    "embedded": "install",
    "process": "Running RuntimeStatus Stopped ours start status stop",
}

__all__ = [
    "Binary",
    "Runner",
    "Running",
    "RuntimeStatus",
    "Stopped",
    "SystemdUnit",
    "install",
    "installed",
    "listener_pid",
    "ours",
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
