"""The disk of the model store that the server really uses."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.machine import Disk
from orchestrator.probe.server import ServerProcess
from orchestrator.probe.unit import Unit

# Where Ollama's installer for Linux lets its service keep models.
SERVICE_STORE = Path("/usr/share/ollama/.ollama/models")
_BELOW_HOME = Path(".ollama/models")


def model_store(
    server: ServerProcess | None, unit: Unit | None, environ: Mapping[str, str]
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
        told = told or unit.environ.get("OLLAMA_MODELS")
    if not server:
        told = told or environ.get("OLLAMA_MODELS")
    if told:
        return Path(told)
    if server and server.home:
        return Path(server.home) / _BELOW_HOME
    if unit and in_unit and unit.user == "ollama":
        return SERVICE_STORE
    return Path(environ.get("HOME", "~")) / _BELOW_HOME


def read_disk(models_path: Path | None) -> Disk:
    """Return the store's path and the bytes that a user may still write there.

    A store that does not exist yet, or that we may not enter, is measured at its nearest parent.
    Free is f_bavail: blocks reserved for root, or kept by a quota of the file system, are not ours.
    """
    if models_path is None:
        return Disk()
    with contextlib.suppress(OSError, RuntimeError):
        path = models_path.expanduser().resolve()
        for folder in (path, *path.parents):
            with contextlib.suppress(OSError):
                room = os.statvfs(folder)
                return Disk(model_store=str(path), free_bytes=room.f_bavail * room.f_frsize)
    return Disk(model_store=str(models_path))
