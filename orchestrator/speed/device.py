"""Which class of accelerator a card is, and the peaks of its sheet."""

import re
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.catalog.accelerators import AcceleratorFacts, accelerator_facts
from orchestrator.machine import Accelerator, Vendor

NAMES = {
    "nvidia-gddr": "NVIDIA GDDR, Turing and later",
    "nvidia-gddr-datacentre": "NVIDIA GDDR, data centre (ECC)",
    "hbm": "HBM",
    "nvidia-old": "NVIDIA before Volta",
    "amd-gddr": "AMD GDDR",
    "apple-early": "Apple M1 and M2",
    "apple": "Apple M3 and later",
    "unified": "unified LPDDR",
    "other": "no class of its own",
}
"""The classes of accelerator, in words."""
_HBM_CAPABILITIES = ("7.0", "8.0", "9.0", "10.0", "10.3")
_HBM_GFX = ("gfx906", "gfx908", "gfx90a", "gfx94", "gfx95")
_APPLE = re.compile(r"\bM(\d+)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A card as speed sees it. `flops` is what prefill is reckoned from; None: unknown."""

    name: str
    kind: str
    bandwidth_bytes_per_s: float
    flops: float | None = None


@lru_cache(maxsize=256)  # a plan asks for each card of a box, for each candidate
def device_of(card: Accelerator) -> Device | None:
    """Return the card with its class; None: neither the driver nor the catalogue has a bandwidth.

    The catalogue's figure goes first where the name is known: drivers show the clock of the moment.
    """
    facts = accelerator_facts(card.name, card.memory_total_bytes)
    known = facts.bandwidth_bytes_per_s if facts else None
    bandwidth = known or card.bandwidth_bytes_per_s
    if not bandwidth:
        return None
    kind = class_of(facts) if facts else _guessed(card)
    flops = _flops(facts) if facts else None
    return Device(name=card.name, kind=kind, bandwidth_bytes_per_s=bandwidth, flops=flops)


def class_of(facts: AcceleratorFacts) -> str:
    """Return the class of a product of the catalogue."""
    if facts.vendor == "apple":
        return _apple(facts.name)
    if facts.unified_memory:
        return "unified"
    if facts.architecture in ("Pascal", "Maxwell"):
        return "nvidia-old"  # also with HBM: dp4a and half precision are missing or slow
    if facts.memory_type.startswith("HBM"):
        return "hbm"
    return _gddr(facts.vendor, datacentre=facts.datacenter)


def _gddr(vendor: Vendor, *, datacentre: bool) -> str:
    if vendor == "nvidia":
        return "nvidia-gddr-datacentre" if datacentre else "nvidia-gddr"
    return "amd-gddr" if vendor == "amd" else "other"


def _apple(name: str) -> str:
    # The third generation has another GPU: Apple family 9.
    found = _APPLE.search(name)
    return "apple-early" if found and int(found[1]) < 3 else "apple"


def _guessed(card: Accelerator) -> str:
    """Return the class of a card that is not in the catalogue, by what its driver says."""
    if card.vendor == "apple":
        return _apple(card.name)
    if card.unified_memory:
        return "unified"
    capability = card.compute_capability
    if capability in _HBM_CAPABILITIES or (card.gfx or "").startswith(_HBM_GFX):
        return "hbm"
    if capability and float(capability) < 7:
        return "nvidia-old"
    return _gddr(card.vendor, datacentre=False)


def _flops(facts: AcceleratorFacts) -> float | None:
    """Return the arithmetic peak that prefill scales with.

    Sheets of workstation cards count the unthrottled tensor rate, which these kernels do not
    reach: without HBM it counts up to twice the FP32 rate.
    """
    fp16, fp32 = facts.fp16_flops, facts.fp32_flops
    if fp16 is None or fp32 is None or facts.memory_type.startswith("HBM"):
        return fp16 or fp32
    return 2 * fp32 if class_of(facts) == "nvidia-old" else min(fp16, 2 * fp32)
