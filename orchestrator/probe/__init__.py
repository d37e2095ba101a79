"""The probe: what this machine is, what is free on it, and what its Ollama server reveals.

Probes read and never raise: what cannot be read is None or an Absent with its reason.
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from orchestrator.machine import Absent, Accelerator, LoadedModel, Machine, ServerState
from orchestrator.machine_file import with_known_facts
from orchestrator.probe.disk import model_store, read_disk
from orchestrator.probe.host import read_host
from orchestrator.probe.memory import read_memory
from orchestrator.probe.nvidia import NvidiaProbe
from orchestrator.probe.pci import AMD, HUAWEI, INTEL, AppleProbe, UnreadProbe
from orchestrator.probe.server import ServerProcess, is_local, read_process
from orchestrator.runtime.unit import systemd_unit
from orchestrator.usability import judged

__all__ = ["AcceleratorProbe", "ServerClaims", "default_probes", "read_machine"]


class AcceleratorProbe(Protocol):
    """Anything that reads the accelerators of one vendor."""

    @property
    def name(self) -> str:
        """The vendor, as `absent` names it."""

    def read(self) -> tuple[Accelerator, ...] | Absent:
        """Return the devices, or why there are none. Never raises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerClaims:
    """What the server said over HTTP: the caller asks it, the probe does not speak its language.

    `blobs` maps a loaded model's digest to the digest of its weights, where the caller knows it.
    """

    version: str | None
    loaded: tuple[LoadedModel, ...] = ()
    blobs: Mapping[str, str] = field(default_factory=dict)


def default_probes() -> tuple[AcceleratorProbe, ...]:
    """Return one probe a vendor."""
    return (
        NvidiaProbe(),
        UnreadProbe("amd", AMD, "AMD GPU"),
        UnreadProbe("intel", INTEL, "Intel GPU"),
        AppleProbe(platform.system().lower(), platform.machine()),
        UnreadProbe("ascend", HUAWEI, "Ascend NPU"),
    )


def read_machine(
    *,
    host_url: str,
    server: ServerClaims | None,
    now: datetime,
    probes: tuple[AcceleratorProbe, ...] | None = None,
) -> Machine:
    """Return this machine as the server at `host_url` may use it; `server` None: none answers.

    `server.local` is False where the server is, or may be, on another machine or in a container
    that we cannot see: then everything else describes the wrong box. Never raises.
    """
    process = read_process(host_url)
    pid = process.pid if process else None
    absent: list[Absent] = []
    state = _state(host_url, server, process)
    read = _accelerators(default_probes() if probes is None else probes, absent)
    accelerators = judged(
        tuple(with_known_facts(a) for a in read),
        server_version=state.version,
        server_runtime=state.runtime,
        visible_devices=state.settings.visible_devices,
    )
    store = None
    if state.local:
        unit = None if process and process.settings_known else systemd_unit()
        store = model_store(process, unit, os.environ)
    if store is None:
        why = "the server's model store lies in another container or on another host"
        absent.append(Absent(probe="disk", reason=why))
    runs_on_cpu = not any(a.usable for a in accelerators)
    return Machine(
        taken_at=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        host=read_host(pid),
        memory=read_memory(pid),
        disk=read_disk(store),
        accelerators=accelerators,
        absent=tuple(absent),
        # A runner's resident memory is what its model holds only where no GPU holds a part of it.
        server=_measured(state, server, process) if runs_on_cpu else state,
    )


def _accelerators(
    probes: tuple[AcceleratorProbe, ...], absent: list[Absent]
) -> tuple[Accelerator, ...]:
    found: list[Accelerator] = []
    for probe in probes:
        reading = probe.read()
        if isinstance(reading, Absent):
            absent.append(reading)
        else:
            found += reading
    return tuple(found)


def _state(
    host_url: str, server: ServerClaims | None, process: ServerProcess | None
) -> ServerState:
    state = ServerState(
        host=host_url,
        version=server.version if server else None,
        local=is_local(host_url, process, answers=server is not None),
        loaded=server.loaded if server else (),
    )
    if process is None:
        return state
    return replace(state, runtime=process.kind, pid=process.pid, settings=process.settings)


def _measured(
    state: ServerState, server: ServerClaims | None, process: ServerProcess | None
) -> ServerState:
    """Replace what the server claims that a model holds by what its runner holds."""
    runners = process.runners if process else ()
    resident = {r.blob: r.rss_bytes for r in runners if r.rss_bytes}
    blobs = server.blobs if server else {}
    alone = next(iter(resident.values())) if len(runners) == len(state.loaded) == 1 else None
    loaded = (
        replace(m, bytes=resident.get(blobs.get(m.digest)) or alone or m.bytes)
        for m in state.loaded
    )
    return replace(state, loaded=tuple(loaded))
