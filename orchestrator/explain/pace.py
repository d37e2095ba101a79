"""What bounds the speed of a run: the memory that every token is read through."""

from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.accelerators import accelerator_facts
from orchestrator.estimate import Estimate
from orchestrator.machine import Accelerator, Machine
from orchestrator.speed import Speed
from orchestrator.units import gib


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """The expected speed, what a token reads, and what bounds it.

    `ceiling_tps` is bandwidth / bytes a token: no kernel gets above it; None: bandwidth unknown.
    """

    speed: Speed | None
    read_bytes: int
    ceiling_tps: float | None
    bound_by: str

    def to_json(self) -> dict[str, Any]:
        """Return the explanation's `speed`."""
        return {
            "expected": self.speed.to_json() if self.speed else None,
            "read_bytes_per_token": self.read_bytes,
            "ceiling_tps": None if self.ceiling_tps is None else round(self.ceiling_tps, 2),
            "bound_by": self.bound_by,
        }


def pace(found: Estimate, machine: Machine) -> Pace:
    """Return the speed of an estimate with its reason."""
    read = read_bytes(found)
    ceiling = _ceiling(found, machine, read)
    return Pace(
        speed=found.speed,
        read_bytes=read,
        ceiling_tps=ceiling,
        bound_by=_bound_by(found, machine, read, ceiling),
    )


def read_bytes(found: Estimate) -> int:
    """Return the weights that one token reads: no token table, of the experts those in use."""
    weights, target = found.load.weights, found.target
    table = 0 if found.load.shape.tied_embeddings else weights.embedding_bytes
    share = min(1.0, target.parameters_active / max(1, target.parameters_total))
    return int((weights.total_bytes - table) * share)


def bandwidth(card: Accelerator) -> int | None:
    """Return what the driver or the product's sheet says, in bytes a second; None: unknown."""
    if card.bandwidth_bytes_per_s:
        return card.bandwidth_bytes_per_s
    facts = accelerator_facts(card.name, card.memory_total_bytes)
    return facts.bandwidth_bytes_per_s if facts else None


def _ceiling(found: Estimate, machine: Machine, read: int) -> float | None:
    """Return the tokens a second of memory alone: the places take turns, so times add up."""
    cards = {c.index: c for c in machine.usable}
    total, seconds = found.placement.total_layers, 0.0
    rates = [
        (s.layers + s.output, bandwidth(cards[s.index]) if s.index in cards else None)
        for s in found.placement.shares
    ]
    rest = total - found.placement.gpu_layers
    if rest:
        rates.append((rest, machine.memory.bandwidth_bytes_per_s))
    for layers, rate in rates:
        if not rate:
            return None
        seconds += read * layers / total / rate
    return 1 / seconds if seconds else None


def _bound_by(found: Estimate, machine: Machine, read: int, ceiling: float | None) -> str:
    placement = found.placement
    each = f"every token reads {gib(read)} of weights"
    most = f"; memory alone allows {ceiling:.0f} tokens/s" if ceiling else ""
    if placement.kind == "cpu":
        cores = machine.host.threads or machine.host.physical_cores
        limit = f"{cores} cores and the host's memory" if cores else "the host's memory"
        return f"{each}; {limit} bound it{most}"
    if placement.kind == "split":
        rest = placement.total_layers - placement.gpu_layers
        return (
            f"{each}; the {rest} of {placement.total_layers} layers in host memory bound it, "
            f"the GPU waits for them{most}"
        )
    names = {c.index: c.name for c in machine.usable}
    used = list(dict.fromkeys(names.get(s.index, "the GPU") for s in placement.shares))
    turns = ", one card after the other" if len(placement.shares) > 1 else ""
    return f"{each}{turns}; the memory bandwidth of {' and '.join(used)} bounds it{most}"
