"""Checks of accelerators: broken, left out, held by others."""

from collections.abc import Iterator
from dataclasses import replace

from orchestrator.doctor.case import Case
from orchestrator.doctor.check import Check, failed, passed, warned
from orchestrator.machine import Accelerator
from orchestrator.units import gib
from orchestrator.usability import EMBEDDED, judged_for

_RELEASE = "install Ollama's release (https://ollama.com/download) and start it, then `deploy auto`"
_NOTHING = "nothing mends it: deploy plans without it"
_HELD_SHARE = 0.10


def devices(case: Case) -> Iterator[Check]:
    """Check what is plugged in, and whether the server can use it."""
    machine = case.machine
    for each in machine.absent:
        if each.present:
            fault, _, remedy = each.reason.partition(": ")
            yield failed(each.probe, fault, remedy or _NOTHING)
    unjudged = [replace(a, usable=True, unusable_reason=None) for a in machine.accelerators]
    by_rule = judged_for(machine.server, unjudged)
    for card, opinion in zip(machine.accelerators, by_rule, strict=True):
        # What the server's rules leave out is no fault; anything else the probe found broken.
        yield from _card(card, ruled=opinion.unusable_reason == card.unusable_reason)
    if not machine.accelerators and not any(a.present for a in machine.absent):
        yield passed("gpu", "none here: models run on the CPU")


def _card(card: Accelerator, *, ruled: bool) -> Iterator[Check]:
    name = f"{card.vendor} {card.index}"
    if card.usable:
        yield _free(name, card)
        return
    reason = card.unusable_reason or "unusable"
    if "MIG" in reason:  # a card in slices is as its owner wants it
        yield passed(name, f"{card.name}: {reason}")
        return
    fault, _, remedy = reason.partition(": ")
    detail = f"{card.name}: {fault}"
    if reason == EMBEDDED:
        yield warned(name, f"{card.name}: the embedded runtime runs on the CPU only", _RELEASE)
    elif ruled:
        yield warned(name, detail, _remedy(reason) or remedy or _NOTHING)
    else:
        yield failed(name, detail, remedy or _NOTHING)


def _remedy(reason: str) -> str | None:
    if "VISIBLE_DEVICES" in reason:
        return "if that is not meant, take the variable out of the server's environment"
    if "too old: Ollama needs" in reason:
        return f"upgrade the driver: {reason.rpartition(': ')[2]}"
    return None


def _free(name: str, card: Accelerator) -> Check:
    total, free = card.memory_total_bytes, card.memory_free_bytes
    if not total or free is None:
        return passed(name, f"{card.name}: shares the host's memory")
    shown = f"{card.name}: {gib(free)} of {gib(total)} free"
    driver = f", driver {card.driver}" if card.driver else ""
    held = total - free - (card.memory_reserved_bytes or 0)
    holders = [p for p in card.processes if p.bytes is None or p.bytes > _HELD_SHARE * total]
    if held <= _HELD_SHARE * total or not holders:
        return passed(name, f"{shown}{driver}")
    who = ", ".join(
        f"pid {p.pid}"
        + (f" ({p.name})" if p.name else "")
        + (f" {gib(p.bytes)}" if p.bytes else "")
        for p in holders
    )
    return warned(
        name,
        f"{shown}; held by {who}",
        "a plan counts only what is free: end what is not needed, then `deploy auto`",
    )
