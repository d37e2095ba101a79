"""The disk of the model store that the server really uses."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from orchestrator.machine import Disk
from orchestrator.probe.server import ServerProcess
from orchestrator.runtime.disk import free_bytes
from orchestrator.runtime.environment import setting, store_below
from orchestrator.runtime.unit import SystemdUnit

# Where Ollama's installer for Linux lets its service keep models.
SERVICE_STORE = store_below("/usr/share/ollama")


def model_store(
    server: ServerProcess | None, unit: SystemdUnit | None, environ: Mapping[str, str]
) -> Path | None:
    """Return the folder that the server keeps models in; None: a path inside another container.

    In this order: OLLAMA_MODELS of the server's process, of its systemd unit, the store below the
    home of the user that runs it, the installer's, and ours. `environ` is ours: its OLLAMA_MODELS
    counts only where no server runs, since then we would start one.
    """
    if server and server.same_namespaces is False:
        return None
    told = server.settings.models_path if server else None
    in_unit = unit is not None and (not server or unit.main_pid in (None, server.pid))
    if unit and in_unit:
        told = told or setting(unit.environment, "OLLAMA_MODELS")
    if not server:
        told = told or setting(environ, "OLLAMA_MODELS")
    if told:
        return Path(told)
    if server and server.home:
        return store_below(server.home)
    if unit and in_unit and unit.user == "ollama":
        return SERVICE_STORE
    return store_below(environ.get("HOME", "~"))


def read_disk(models_path: Path | None) -> Disk:
    """Return the store's path and the bytes that a user may still write there."""
    if models_path is None:
        return Disk()
    with contextlib.suppress(OSError, RuntimeError):
        path = models_path.expanduser().resolve()
        return Disk(model_store=str(path), free_bytes=free_bytes(path))
    return Disk(model_store=str(models_path))
