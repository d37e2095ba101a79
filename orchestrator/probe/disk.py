"""The disk of the model store that the server really uses."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.home import Home
from orchestrator.machine import Disk
from orchestrator.probe.patience import patiently
from orchestrator.probe.server import ServerProcess
from orchestrator.probe.sight import Sight, whole
from orchestrator.probe.volumes import kind_of, mount_of, mounts, others, room_at
from orchestrator.runtime.environment import setting, store_below, store_of_ours
from orchestrator.runtime.unit import SystemdUnit, port_of

# Where Ollama's installer for Linux lets its service keep models.
SERVICE_STORE = store_below("/usr/share/ollama")
_HERE = Sight()


def model_store(
    server: ServerProcess | None,
    unit: SystemdUnit | None,
    environ: Mapping[str, str],
    *,
    revealed: str | None = None,
) -> Path | None:
    """Return the folder that the server keeps models in; None: a path inside another container.

    Of a server in this order: the store of the blob that it named (`revealed`: ask where its own
    environment is hidden), OLLAMA_MODELS of its process, of its systemd unit, the store below the
    home of the user that runs it, and the installer's. `environ` is ours. It counts only where no
    server runs, since then we would start one, whatever a unit that does not run says; a unit that
    is just starting at our address has its server's store.
    """
    if server and (server.same_namespaces is False or server.where == "container"):
        return None
    if told := _store_of(revealed):
        return Path(told)
    if not server:
        starting = unit is not None and unit.active and unit.port == port_of(environ)
        found = _of_unit(unit) if unit and starting else None
        return found or store_of_ours(environ, Home.of(environ))
    if server.settings.models_path:
        return Path(server.settings.models_path)
    its = unit if unit and unit.main_pid == server.pid else None
    told = setting(its.environment, "OLLAMA_MODELS") if its else None
    if told or server.home:
        return Path(told) if told else store_below(server.home or "")
    return (_of_unit(its) if its else None) or store_below(environ.get("HOME", "~"))


def _of_unit(unit: SystemdUnit) -> Path | None:
    """Return the store that a unit's server uses by what the unit alone says; None: untold."""
    told = setting(unit.environment, "OLLAMA_MODELS")
    if told:
        return Path(told)
    return SERVICE_STORE if unit.user == "ollama" else None


def read_disk(store: Path | None, sight: Sight = _HERE) -> Disk:
    """Return what is known of the store's disk, and of those beside it. Never raises.

    A file system that does not answer within 3 s has no figures, and is not asked again.
    """
    if store is None:
        return Disk()
    found = sight.told(f"resolved {store}", lambda: patiently(lambda: _resolved(store)))
    silent = found is None and sight.live
    path = found or str(store)
    mounted = mounts(sight)
    mount = mount_of(path, mounted)
    room = None if silent else room_at(path, mount, sight)
    return Disk(
        model_store=path,
        free_bytes=room.free_bytes if room else None,
        kind=kind_of(mount, sight) if mount else None,
        filesystem=mount.filesystem if mount else None,
        read_only=room.read_only if room else None,
        free_inodes=room.free_inodes if room else None,
        partial_bytes=_partial_bytes(path, sight) if room else None,
        others=others(mounted, mount, sight),
    )


def _store_of(blob: str | None) -> str | None:
    """Return the store that a blob's path names; None: it is no blob of a store here."""
    path = Path(blob or "")
    in_store = path.is_absolute() and path.parent.name == "blobs"
    return str(path.parents[1]) if in_store and path.name.startswith("sha256-") else None


def _resolved(store: Path) -> str:
    return str(store.expanduser().resolve())


def _partial_bytes(store: str, sight: Sight) -> int | None:
    """Return what interrupted downloads take there; None: the folder is not ours to read."""

    def ask() -> str:
        try:
            with os.scandir(f"{store}/blobs") as files:
                partial = [each for each in files if "-partial" in each.name]
        except FileNotFoundError:
            return "0"
        taken = 0
        for each in partial:
            with contextlib.suppress(FileNotFoundError):  # a download has just been completed
                # The server makes it as long as the blob at once; what it takes are its blocks.
                taken += each.stat(follow_symlinks=False).st_blocks * 512
        return str(taken)

    said = sight.told(f"partials {store}", lambda: patiently(ask))
    found = None if said is None else whole(said)
    return None if found is None or found < 0 else found
