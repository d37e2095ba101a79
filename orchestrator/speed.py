"""Decode, prefill and load time as ranges [low, likely, high] with their basis.

Decode streams the active weights once a token: seconds a token = active bytes / (efficiency *
bandwidth) + layers * launch time. On a CPU the kernels, not the memory, are the limit of old
builds, so the rate a core depends on the runtime kind and the quantization. An order of magnitude
that the first bench corrects.
"""

from dataclasses import dataclass
from typing import Any

from orchestrator.catalog.accelerators import accelerator_facts
from orchestrator.machine import Accelerator, Machine
from orchestrator.model import Target
from orchestrator.placement import Load, Placement

Range = tuple[float, float, float]

# Measured bytes a second and core, Ollama 0.9.3 embedded build, 2 cores (docs/estimating-speed.md):
# 8-bit and 16-bit kernels are vectorised, the 4-bit ones are not.
_EMBEDDED_FAST, _EMBEDDED_SLOW = 7.0e9, 1.8e9
_RELEASE_PER_CORE = 10e9
_WIDE = ("Q8_0", "F16", "BF16", "F32")
# Without a measured bandwidth: two channels of DDR4 up to 16 cores, then more with the sockets.
_DEFAULT_BANDWIDTH, _DEFAULT_BANDWIDTH_PER_CORE = 40e9, 3.5e9
_CPU_EFFICIENCY = 0.7
_EFFICIENCY, _HBM_EFFICIENCY = 0.85, 0.65
_LAUNCH_S = 0.00012  # a layer
_PREFILL_FLOPS_SHARE = 0.35
_CPU_PREFILL_TO_DECODE = 1.4
_DISK = (0.15e9, 0.45e9, 2.0e9)  # bytes a second: HDD, what loads show, NVMe
_START_S = 0.4


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Tokens a second of one stream at short context, and seconds until a cold load answers."""

    decode_tps: Range
    prefill_tps: Range
    load_s: Range
    basis: str

    def to_json(self) -> dict[str, Any]:
        """Return the speed part of an estimate document."""
        return {
            "decode_tps": _rounded(self.decode_tps),
            "prefill_tps": _rounded(self.prefill_tps),
            "load_s": _rounded(self.load_s),
            "basis": self.basis,
        }


def _rounded(values: Range) -> list[float]:
    return [round(v, 2) for v in values]


def predict(target: Target, load: Load, placement: Placement, machine: Machine) -> Speed | None:
    """Return the expected speed, or None when a card's bandwidth is unknown."""
    active = _active_bytes(target, load)
    per_layer = active / load.shape.layers
    host_s = (load.shape.layers - placement.gpu_layers) * per_layer / _host_rate(target, machine)
    cards = {a.index: a for a in machine.usable}
    card_s, basis, factor = 0.0, f"CPU, {machine.host.physical_cores or '?'} cores", 2.5
    for share in placement.shares:
        card = cards.get(share.index)
        rate = _card_rate(card) if card else None
        if rate is None or card is None:
            return None
        layers = share.layers + share.output
        card_s += layers * (per_layer / rate + _LAUNCH_S)
        basis, factor = f"{card.name}, bandwidth", 1.4
    if placement.kind == "split":
        basis, factor = f"{basis} and CPU", 2.0
    decode = 1 / (host_s + card_s)
    prefill = decode * _CPU_PREFILL_TO_DECODE
    if placement.kind == "gpu":
        prefill = _card_prefill(target, cards[placement.shares[0].index], decode)
    size = target.file_bytes
    return Speed(
        decode_tps=(decode / factor, decode, decode * factor),
        prefill_tps=(prefill / factor, prefill, prefill * factor),
        load_s=(size / _DISK[2] + _START_S, size / _DISK[1] + _START_S, size / _DISK[0] + 1),
        basis=basis,
    )


def _active_bytes(target: Target, load: Load) -> float:
    """Weights that one token reads: no token_embd, and only the experts in use."""
    tied = load.shape.tied_embeddings
    read = load.weights.total_bytes - (0 if tied else load.weights.embedding_bytes)
    return read * min(1.0, target.parameters_active / max(1, target.parameters_total))


def _host_rate(target: Target, machine: Machine) -> float:
    """Bytes a second that the processor streams through this quantization's kernels."""
    cores = machine.host.physical_cores or 2
    known = machine.memory.bandwidth_bytes_per_s
    default = max(_DEFAULT_BANDWIDTH, _DEFAULT_BANDWIDTH_PER_CORE * cores)
    bound = _CPU_EFFICIENCY * (known or default)
    if machine.server.runtime == "embedded":
        fast = target.quantization in _WIDE
        return min(bound, cores * (_EMBEDDED_FAST if fast else _EMBEDDED_SLOW))
    return min(bound, cores * _RELEASE_PER_CORE)


def _card_rate(card: Accelerator) -> float | None:
    facts = accelerator_facts(card.name, card.memory_total_bytes)
    bandwidth = card.bandwidth_bytes_per_s or (facts.bandwidth_bytes_per_s if facts else None)
    if not bandwidth:
        return None
    hbm = facts is not None and (facts.memory_type or "").startswith("HBM")
    return bandwidth * (_HBM_EFFICIENCY if hbm else _EFFICIENCY)


def _card_prefill(target: Target, card: Accelerator, decode: float) -> float:
    """Prefill is bound by arithmetic: two operations a parameter and token."""
    facts = accelerator_facts(card.name, card.memory_total_bytes)
    flops = facts.fp16_flops if facts else None
    if not flops:
        return decode * 20
    return flops * _PREFILL_FLOPS_SHARE / (2 * target.parameters_active)
