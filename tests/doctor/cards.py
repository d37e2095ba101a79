"""Machines with accelerators, as probes find them, and what the doctor says of them."""

from typing import Any

from orchestrator.doctor.case import Case
from orchestrator.doctor.check import Check
from orchestrator.doctor.devices import devices
from orchestrator.machine import Absent, Accelerator, Machine, Memory, ServerState
from orchestrator.probe import default_probes
from orchestrator.probe.amd import AmdProbe
from orchestrator.units import GIB
from orchestrator.usability import judged_for
from tests.probe.boxes import Box

SERVER = ServerState(version="0.33.0", runtime="release", pid=7)


def box_with(*found: Accelerator | Absent, server: ServerState = SERVER, **facts: Any) -> Machine:
    """Return the machine of a probe's findings, as this server may use them."""
    cards = tuple(each for each in found if isinstance(each, Accelerator))
    return Machine(
        memory=Memory(total_bytes=64 * GIB, available_bytes=60 * GIB),
        accelerators=judged_for(server, cards),
        absent=tuple(each for each in found if isinstance(each, Absent)),
        server=server,
        **facts,
    )


def checks(machine: Machine) -> list[Check]:
    return list(devices(Case(machine=machine, answers=True)))


def outcomes(machine: Machine) -> list[str]:
    return [check.outcome for check in checks(machine)]


def card(index: int = 0, **facts: Any) -> Accelerator:
    known: dict[str, Any] = {
        "vendor": "nvidia",
        "name": "NVIDIA GeForce RTX 4090",
        "uuid": f"GPU-{index}a",
        "memory_total_bytes": 24 * GIB,
        "memory_free_bytes": 23 * GIB,
        "compute_capability": "8.9",
        "driver": "570.86",
        "pci": f"0000:0{index + 1}:00.0",
    }
    return Accelerator(index=index, **(known | facts))


def read(box: Box) -> list[Accelerator | Absent]:
    """Return what all probes find on a box whose server runs as somebody without any rights."""
    probes = [p for p in default_probes(box.sight) if p.name != "amd"]
    readings = [p.read() for p in (*probes, AmdProbe(box.sight, frozenset(), 990))]
    found: list[Accelerator | Absent] = []
    for each in readings:
        found += [each] if isinstance(each, Absent) else each
    return found
