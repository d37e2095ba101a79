"""Checks of accelerators: broken, left out, held by others."""

from collections.abc import Iterator
from dataclasses import replace

from orchestrator.doctor.case import Case
from orchestrator.doctor.check import Check, failed, passed, warned
from orchestrator.machine import Accelerator, DeviceProcess, Machine
from orchestrator.units import gib
from orchestrator.usability import NO_BACKEND, judged_for

_NOTHING = "nothing mends it: deploy plans without it"
_HELD_SHARE = 0.10
_MOST_NAMED = 3


def devices(case: Case) -> Iterator[Check]:
    """Check what is plugged in, and whether the server can use it."""
    machine = case.machine
    for each in machine.absent:
        if each.present:
            yield _amiss(each.probe, _found(each.reason, each.remedy), each.remedy)
    for number in range(len(machine.accelerators)):
        yield _card(machine, number)
    if not machine.accelerators and not any(a.present for a in machine.absent):
        yield passed("gpu", "none here: models run on the CPU")


def _card(machine: Machine, number: int) -> Check:
    card = machine.accelerators[number]
    name = f"{card.vendor} {card.index}"
    if card.usable:
        return _free(name, card, machine)
    reason = card.unusable_reason or "unusable"
    detail = f"{card.name}: {_found(reason, card.remedy)}"
    ruled = _by_rule(machine, number).unusable_reason == card.unusable_reason
    if _is_as_wanted(machine, number, ruled=ruled):
        return passed(name, detail)
    if ruled or card.vendor in NO_BACKEND:  # what the server does not use is no fault of the card
        return warned(name, detail, card.remedy or _NOTHING)
    return _amiss(name, detail, card.remedy)


def _found(reason: str, remedy: str | None) -> str:
    return reason.removesuffix(f": {remedy}") if remedy else reason


def _amiss(name: str, detail: str, remedy: str | None) -> Check:
    """Return what is broken; what nobody can mend is left as it is, and warned of."""
    return failed(name, detail, remedy) if remedy else warned(name, detail, _NOTHING)


def _by_rule(machine: Machine, number: int, *, alone: bool = False) -> Accelerator:
    """Return a card as only the server's rules leave it, beside the others or without them."""
    found = [
        replace(a, usable=True, unusable_reason=None, remedy=None)
        if index == number
        else replace(a, usable=a.usable and not alone)
        for index, a in enumerate(machine.accelerators)
    ]
    return judged_for(machine.server, found)[number]


def _is_as_wanted(machine: Machine, number: int, *, ruled: bool) -> bool:
    """Say whether a card is left out and nobody misses it.

    It is given away in slices, another is better, or it is the small GPU of a processor.
    """
    card = machine.accelerators[number]
    if ruled and _by_rule(machine, number, alone=True).usable:
        return True
    if card.vendor == "intel" and card.unified_memory:
        return True
    given = (a.pci for a in machine.accelerators if _is_slice(a))
    return not ruled and card.remedy is None and not _is_slice(card) and card.pci in given


def _is_slice(card: Accelerator) -> bool:
    return (card.uuid or "").startswith("MIG-")


def _free(name: str, card: Accelerator, machine: Machine) -> Check:
    total, free = card.memory_total_bytes, card.memory_free_bytes
    if not total or free is None:
        return passed(name, f"{card.name}: shares the host's memory")
    shown = f"{card.name}: {gib(free)} of {gib(total)} free"
    ours = {machine.server.pid, *machine.server.runners}
    others = [p for p in card.processes if p.pid not in ours]
    if not others or _held_bytes(card, others, machine) <= _HELD_SHARE * total:
        driver = f", driver {card.driver}" if card.driver else ""
        return passed(name, f"{shown}{driver}")
    return warned(
        name,
        f"{shown}; held by {_names(others)}",
        "end what is not needed, then `deploy auto`: a plan counts only what is free",
    )


def _held_bytes(card: Accelerator, others: list[DeviceProcess], machine: Machine) -> int:
    """Return what these processes hold of a card: as the driver says, else what nobody else does.

    In a container the driver counts the processes of the host by numbers that name nobody here,
    and our own runners may be among them.
    """
    told = sum(p.bytes or 0 for p in others)
    silent = any(p.bytes is None for p in others) or machine.host.container is not None
    if not silent or card.unified_memory:
        return told
    total, free = card.memory_total_bytes or 0, card.memory_free_bytes or 0
    known = (card.memory_reserved_bytes or 0) + sum(m.bytes for m in machine.server.loaded)
    return max(0, total - free - known)


def _names(holders: list[DeviceProcess]) -> str:
    largest = sorted(holders, key=lambda p: p.bytes or 0, reverse=True)
    named = [
        f"pid {p.pid}"
        + (f" ({p.name})" if p.name else "")
        + (f" {gib(p.bytes)}" if p.bytes else "")
        for p in largest[:_MOST_NAMED]
    ]
    more = len(largest) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
