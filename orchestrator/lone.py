"""The estimate of one model by itself: on a described machine, or on one card that takes it all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.budget import budget
from orchestrator.errors import InvalidInput
from orchestrator.estimate import Estimate
from orchestrator.estimate import estimate as predict
from orchestrator.fit import SUPPORTED, load_of, target_of
from orchestrator.machine import Machine, ServerSettings
from orchestrator.memory import Device
from orchestrator.model import Candidate
from orchestrator.placement import Card, Load, batched, everywhere, forced, place
from orchestrator.settings import Wishes, attempts, effective

_ANY_CARD = (Card(index=0, free_bytes=0),)


def estimated(
    candidate: Candidate,
    wishes: Wishes,
    machine: Machine | None,
    server_version: str | None,
    gpu_layers: int | None,
) -> Estimate:
    """Return the estimate of a candidate on a machine, or on one card that takes it all."""
    _check(candidate, gpu_layers)
    version = server_version or (machine.server.version if machine else None)
    if machine:
        machine = replace(machine, server=replace(machine.server, version=version))
    cards = budget(machine, None).cards if machine else _ANY_CARD
    if gpu_layers and not cards:
        raise InvalidInput(f"--gpu-layers {gpu_layers}: this machine has no usable GPU")
    device: Device = "metal" if cards and cards[0].metal else "cuda"
    load, requested = _load(candidate, wishes, machine, version, device, cards)
    placement = everywhere(load, layers=None if cards else 0)
    if gpu_layers is not None:
        placement = forced(load, cards, gpu_layers) if cards else placement
    elif machine:
        for each in attempts(wishes, machine.server, load.run.version):
            load, requested = _load(candidate, each, machine, version, device, cards)
            placement = place(load, cards)
            if placement.kind == "gpu":
                break
    if placement.kind == "cpu":
        load, requested = _load(candidate, wishes, machine, version, "cpu", ())
    return predict(
        target_of(candidate, version), load, placement, machine=machine, requested=requested
    )


def _check(candidate: Candidate, gpu_layers: int | None) -> None:
    name, form = candidate.architecture.name, candidate.format
    if gpu_layers is not None and gpu_layers < 0:
        raise InvalidInput(f"--gpu-layers {gpu_layers}: must not be negative")
    if form != "gguf":
        raise InvalidInput(f"{candidate.tag} is {form}, not GGUF: its memory is not known")
    if name not in SUPPORTED:
        raise InvalidInput(
            f"architecture {name} is unknown, and not guessed",
            hint=f"known are {', '.join(SUPPORTED)}",
        )


def _load(
    candidate: Candidate,
    wishes: Wishes,
    machine: Machine | None,
    version: str | None,
    device: Device,
    cards: Sequence[Card],
) -> tuple[Load, Mapping[str, Any]]:
    """Return the load with the settings that the machine's server gives it, and changed wishes."""
    found = effective(
        wishes, shape=candidate.architecture, machine=machine, device=device, version=version
    )
    settings = machine.server.settings if machine else ServerSettings()
    load = load_of(candidate, found.run, device, settings)
    if wishes.num_batch is None:
        load = batched(load, cards)
    return load, found.requested
