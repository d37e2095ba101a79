"""What a model may take on a machine: per card and on the host, with the reserve left aside."""

from dataclasses import dataclass, replace

from orchestrator.estimate import Estimate
from orchestrator.machine import Accelerator, Machine
from orchestrator.placement import Card
from orchestrator.units import GIB, MIB, gib

_HOST_RESERVE_BYTES, _HOST_RESERVE_SHARE = int(1.5 * GIB), 0.10
# NVML's total is up to 0.7 % more than CUDA can hand out (96 GB card: 95.59 against 94.97 GiB).
_CARD_RESERVE_BYTES, _CARD_RESERVE_SHARE = 64 * MIB, 0.01
_UNIFIED_RESERVE_BYTES, _UNIFIED_RESERVE_SHARE = 4 * GIB, 0.08


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """`cards` and `host_bytes` are judged one by one; `cap_bytes` (--max-memory) on the sum."""

    cards: tuple[Card, ...]
    host_bytes: int
    reserve_bytes: int
    cap_bytes: int | None
    basis: str

    @property
    def bytes(self) -> int:
        """The figure to show: the cards' memory, or the host's without cards, under the cap."""
        free = sum(c.budget_bytes for c in self.cards) if self.cards else self.host_bytes
        return free if self.cap_bytes is None else min(free, self.cap_bytes)


def budget(machine: Machine, max_memory_bytes: int | None) -> Budget:
    """Return what is free now; memory that the server's own loaded models hold counts as free."""
    held = sum(m.bytes for m in machine.server.loaded)
    shared = any(a.unified_memory for a in machine.usable)
    reserve = _host_reserve(machine, shared=shared)
    free = machine.memory.free_bytes + (held if shared or not machine.usable else 0)
    host = max(0, min(free, machine.memory.total_bytes) - reserve)
    cards = tuple(_card(a, host, held // len(machine.usable)) for a in machine.usable)
    basis = f"host memory free now, {gib(reserve)} kept for the system"
    if cards:
        basis = f"memory free now on {len(cards)} GPU{'s' if len(cards) > 1 else ''}"
        reserve = reserve if shared else sum(_card_reserve(a) for a in machine.usable)
    found = Budget(
        cards=cards,
        host_bytes=host,
        reserve_bytes=reserve,
        cap_bytes=max_memory_bytes,
        basis=basis,
    )
    if max_memory_bytes is not None and found.bytes == max_memory_bytes:
        return replace(found, basis=f"--max-memory; beyond it: {basis}")
    return found


def beside(machine: Machine, wanted: Estimate) -> bool:
    """Whether a model fits without the server giving up one that it has loaded."""
    if machine.server.settings.max_loaded_models == 1:
        return False
    now = budget(replace(machine, server=replace(machine.server, loaded=())), None)
    free = {card.index: card.budget_bytes for card in now.cards}
    on_cards = all(d.bytes <= free.get(d.index, 0) for d in wanted.needs.devices)
    return on_cards and wanted.needs.host_bytes <= now.host_bytes


def _host_reserve(machine: Machine, *, shared: bool) -> int:
    """Return what the system keeps of the memory that a limit, if there is one, leaves to us."""
    total, limit = machine.memory.total_bytes, machine.memory.limit_bytes
    ours = total if limit is None else min(total, limit)
    if shared:
        return max(_UNIFIED_RESERVE_BYTES, int(_UNIFIED_RESERVE_SHARE * ours))
    return max(_HOST_RESERVE_BYTES, int(_HOST_RESERVE_SHARE * ours))


def _card(card: Accelerator, host: int, held: int) -> Card:
    metal, cuda, total = card.vendor == "apple", card.vendor == "nvidia", card.memory_total_bytes
    if card.unified_memory:
        ours = min(host, total) if total else host
        # Metal's grant is never refreshed: the server plans with all of it, whatever is in use.
        free = total if metal and total else ours
        reserve = max(0, free - ours)
        return Card(
            index=card.index,
            free_bytes=free,
            reserve_bytes=reserve,
            metal=metal,
            cuda=cuda,
            unified=True,
        )
    known = card.memory_free_bytes if card.memory_free_bytes is not None else (total or 0)
    free = min(known + held, total) if total else known + held
    return Card(
        index=card.index,
        free_bytes=max(0, free),
        reserve_bytes=_card_reserve(card),
        metal=metal,
        cuda=cuda,
    )


def _card_reserve(card: Accelerator) -> int:
    return max(_CARD_RESERVE_BYTES, int(_CARD_RESERVE_SHARE * (card.memory_total_bytes or 0)))
