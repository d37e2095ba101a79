"""What a topic means on this machine: sentences about its own pick and its own cards."""

from collections.abc import Callable
from dataclasses import replace

from orchestrator.explain.case import Case
from orchestrator.explain.parts import cache_formula, weights_formula
from orchestrator.explain.solve import largest_context, most_slots
from orchestrator.machine import Machine
from orchestrator.units import gib


def here(name: str, machine: Machine, pick: Case | None) -> tuple[str, ...]:
    """Return the lines of topic `name` for a machine and what would be deployed on it."""
    if name in _MACHINE:
        return _MACHINE[name](machine)
    return _PICK[name](pick) if pick and name in _PICK else ()


def _half_byte(pick: Case) -> tuple[str, ...]:
    found, tag = pick.answer().fit.estimate, pick.candidate.tag
    run, naive = found.load.run, pick.candidate.parameters_total / 2
    where = f"{found.placement.kind}, {run.context} tokens x {run.parallel}"
    total = gib(found.total_bytes)
    return (f"{tag}: {gib(naive)} by that rule, {total} in all here ({where})",)


def _weights(pick: Case) -> tuple[str, ...]:
    found = pick.answer().fit.estimate
    return (f"{pick.candidate.tag}: {weights_formula(found)} = {gib(found.weights_bytes)}",)


def _cache(pick: Case) -> tuple[str, ...]:
    found = pick.answer().fit.estimate
    formula = cache_formula(found.load.shape, found.load.run, found.kv_cache_bytes)
    shown = f"{formula} = " if formula else ""
    return (f"{pick.candidate.tag}: {shown}{gib(found.kv_cache_bytes)}",)


def _reach(pick: Case) -> tuple[str, ...]:
    limit = largest_context(pick)
    return (f"{pick.candidate.tag}: {limit.most} tokens a slot at most; {limit.detail}",)


def _slots(pick: Case) -> tuple[str, ...]:
    limit = most_slots(pick)
    slots = f"{limit.most} slot{'s' if limit.most != 1 else ''} at most"
    return (f"{pick.candidate.tag}: {slots}; {limit.detail}",)


def _split(pick: Case) -> tuple[str, ...]:
    """Compare the pick's placement with a run on the processor alone."""
    if not pick.machine.usable:
        return ("this machine has no usable GPU: everything runs on the CPU",)
    lines = []
    for placement in dict.fromkeys((pick.answer().fit.placement.kind, "cpu")):
        profile = replace(pick.profile, placement=placement, min_tps=0.0)
        found = replace(pick, profile=profile).answer().fit.estimate
        if found.speed:
            speed = f"about {found.speed.decode_tps[1]:.1f} tokens/s ({found.placement.kind})"
            lines.append(f"{pick.candidate.tag}: {speed}")
    return tuple(lines)


def _fits(pick: Case) -> tuple[str, ...]:
    found = pick.answer().fit.estimate
    size, kind = gib(found.total_bytes), found.placement.kind
    return (f"{pick.machine.name}: {pick.candidate.tag}, {size}, {kind}",)


def _cards(machine: Machine) -> tuple[str, ...]:
    lines = []
    for each in machine.accelerators:
        size = gib(each.memory_total_bytes) if each.memory_total_bytes else "unknown memory"
        pool = ", one pool with the host" if each.unified_memory else ""
        state = "usable" if each.usable else f"unusable: {each.unusable_reason}"
        lines.append(f"{each.name}, {size}{pool}: {state}")
    return tuple(lines) or ("this machine has no accelerator",)


_PICK: dict[str, Callable[[Case], tuple[str, ...]]] = {
    "what-7b-means": _weights,
    "half-byte": _half_byte,
    "quantization": _weights,
    "what-fits": _fits,
    "context": _reach,
    "kv-cache": _cache,
    "slots": _slots,
    "gpu-split": _split,
}
_MACHINE: dict[str, Callable[[Machine], tuple[str, ...]]] = {
    "several-gpus": _cards,
    "unified-memory": _cards,
    "old-cards": _cards,
    "ascend": _cards,
}
