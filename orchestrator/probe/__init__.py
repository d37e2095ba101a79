"""The probe: what this machine is, what is free on it, and what its Ollama server reveals.

Probes read and never raise: what cannot be read is None or an Absent with its reason.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from orchestrator.fault import Fault
from orchestrator.machine import Absent, Accelerator, Disk, LoadedModel, Machine, ServerState
from orchestrator.machine_file import with_known_facts
from orchestrator.probe.amd import AmdProbe
from orchestrator.probe.apple import AppleProbe
from orchestrator.probe.ascend import AscendProbe
from orchestrator.probe.disk import model_store, read_disk
from orchestrator.probe.host import read_host
from orchestrator.probe.intel import IntelProbe
from orchestrator.probe.memory import read_memory
from orchestrator.probe.numa import without_device_nodes
from orchestrator.probe.nvidia import NvidiaProbe
from orchestrator.probe.other import OtherProbe
from orchestrator.probe.rights import Rights
from orchestrator.probe.server import ServerProcess, is_local, read_process, whereabouts
from orchestrator.probe.servers import orphans, other_servers
from orchestrator.probe.sight import Sight
from orchestrator.runtime.unit import systemd_unit
from orchestrator.usability import judged_for

__all__ = [
    "AcceleratorProbe",
    "ServerClaims",
    "default_probes",
    "measured",
    "read_machine",
]

_HERE = Sight()
_UNKNOWN = Rights()


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


def default_probes(sight: Sight = _HERE, rights: Rights = _UNKNOWN) -> tuple[AcceleratorProbe, ...]:
    """Return one probe a vendor; `rights` are those of the server's user."""
    return (
        NvidiaProbe(sight),
        AmdProbe(sight, groups=rights.groups, uid=rights.uid),
        IntelProbe(sight),
        AppleProbe(sight),
        AscendProbe(sight),
        OtherProbe(sight),
    )


def read_machine(
    *,
    host_url: str,
    server: ServerClaims | None,
    now: datetime,
    environ: Mapping[str, str] = os.environ,
    probes: tuple[AcceleratorProbe, ...] | None = None,
    sight: Sight = _HERE,
    revealed: Callable[[], str | None] = lambda: None,
) -> Machine:
    """Return this machine as the server at `host_url` may use it; `server` None: none answers.

    `environ` is what a server that we start would have. Of a captured box only hardware is known,
    and where `environ` says that models lie: never its processes, whose numbers are others here.

    `server.local` is False where the server is, or may be, on another machine or in a container
    that we cannot see: then everything else describes the wrong box. `revealed` asks the server
    for the path of a blob, where its environment is hidden. Never raises.
    """
    process = read_process(host_url) if sight.live else None
    pid = process.pid if process else None
    absent: list[Absent] = []
    state = _state(host_url, server, process, sight)
    rights = _rights(process, runs=server is not None, sight=sight)
    read = _accelerators(default_probes(sight, rights) if probes is None else probes, absent)
    # Whether memory is shared the reading knows best: Strix Halo may have a part of its own.
    known = (replace(with_known_facts(a), unified_memory=a.unified_memory) for a in read)
    accelerators = judged_for(state, tuple(known))
    disk = _disk(state, process, environ, revealed, sight)
    store = Path(disk.model_store) if disk.model_store else None
    state = replace(state, orphans=orphans(store) if sight.live else ())
    if disk.model_store is None:
        why = "the server's model store lies in another container or on another host"
        absent.append(Absent(probe="disk", reason=why))
    host = read_host(pid, sight)
    runs_on_cpu = not any(a.usable for a in accelerators)
    return Machine(
        taken_at=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        host=host,
        memory=without_device_nodes(read_memory(pid, sight), host, accelerators),
        disk=disk,
        accelerators=accelerators,
        absent=tuple(absent),
        # A runner's resident memory is what its model holds only where no GPU holds a part of it.
        server=_measured(state, server, process) if runs_on_cpu else state,
    )


def measured(machine: Machine, sight: Sight = _HERE) -> Machine:
    """Return the machine with what takes half a second to measure: memory and disk, bytes a second.

    What cannot be measured stays unknown.
    """
    from orchestrator.probe.bandwidth import measure
    from orchestrator.probe.read_rate import read_rate

    found = measure(machine.host.threads, sight)
    memory = replace(
        machine.memory, bandwidth_bytes_per_s=found.bytes_per_s, bandwidth_noisy=found.noisy
    )
    rate = read_rate(machine.disk.model_store)
    disk = replace(machine.disk, read_bytes_per_s=rate.bytes_per_s)
    return replace(machine, memory=memory, disk=disk)


def _disk(
    state: ServerState,
    process: ServerProcess | None,
    environ: Mapping[str, str],
    revealed: Callable[[], str | None],
    sight: Sight,
) -> Disk:
    if not state.local:
        return Disk()
    hidden = process is not None and not process.environ_known
    unit = systemd_unit() if sight.live and (hidden or process is None) else None
    blob = revealed() if hidden else None
    return read_disk(model_store(process, unit, environ, revealed=blob), sight)


def _rights(process: ServerProcess | None, *, runs: bool, sight: Sight) -> Rights:
    if process:
        return process.rights
    if runs or not sight.live:
        return _UNKNOWN
    # Where no server runs, it will be ours.
    return Rights(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))


def _accelerators(
    probes: tuple[AcceleratorProbe, ...], absent: list[Absent]
) -> tuple[Accelerator, ...]:
    found: list[Accelerator] = []
    for probe in probes:
        try:
            reading = probe.read()
        except Exception as e:  # noqa: BLE001 - a fault of ours with one vendor must not hide another
            what = f"a fault of deploy itself, {type(e).__name__}: {e}"
            fault = Fault(what, "report it with `deploy doctor --bundle report.zip`")
            reading = Absent(probe=probe.name, reason=fault.text, present=True, remedy=fault.remedy)
        if isinstance(reading, Absent):
            absent.append(reading)
        else:
            found += reading
    return tuple(found)


def _state(
    host_url: str, server: ServerClaims | None, process: ServerProcess | None, sight: Sight
) -> ServerState:
    state = ServerState(
        host=host_url,
        version=server.version if server else None,
        loaded=server.loaded if server else (),
    )
    if not sight.live:
        return state
    state = replace(
        state,
        local=is_local(host_url, process, answers=server is not None),
        where=whereabouts(host_url, process),
        others=other_servers(host_url, process.pid if process else None),
    )
    if process is None:
        return state
    return replace(
        state,
        runtime=process.kind,
        pid=process.pid,
        user=process.user,
        settings=process.settings,
        settings_known=process.settings_known,
        runners=tuple(runner.pid for runner in process.runners),
    )


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
