"""What a model may take on a machine: per card and on the host, with the reserve left aside."""

from dataclasses import dataclass

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
        free = sum(c.free_bytes for c in self.cards) or self.host_bytes
        return free if self.cap_bytes is None else min(free, self.cap_bytes)


def budget(machine: Machine, max_memory_bytes: int | None) -> Budget:
    """Return what is free now; memory that the server's own loaded models hold counts as free."""
    held = sum(m.bytes for m in machine.server.loaded)
    cards_held, host_held = (held, 0) if machine.usable else (0, held)
    reserve = max(_HOST_RESERVE_BYTES, int(_HOST_RESERVE_SHARE * machine.memory.total_bytes))
    free = min(machine.memory.free_bytes + host_held, machine.memory.total_bytes)
    host = max(0, free - reserve)
    cards = tuple(_card(a, machine, cards_held, host) for a in machine.usable)
    if not cards:
        basis = f"host memory free now, {gib(reserve)} kept for the system"
        return Budget(
            cards=(),
            host_bytes=host,
            reserve_bytes=reserve,
            cap_bytes=max_memory_bytes,
            basis=basis,
        )
    aside = sum(_card_reserve(a) for a in machine.usable)
    where = f"{len(cards)} GPU{'s' if len(cards) > 1 else ''}"
    return Budget(
        cards=cards,
        host_bytes=host,
        reserve_bytes=aside,
        cap_bytes=max_memory_bytes,
        basis=f"memory free now on {where}",
    )


def _card(card: Accelerator, machine: Machine, held: int, host: int) -> Card:
    metal = card.vendor == "apple"
    total = card.memory_total_bytes
    if card.unified_memory:
        spare = max(
            _UNIFIED_RESERVE_BYTES, int(_UNIFIED_RESERVE_SHARE * machine.memory.total_bytes)
        )
        free = max(0, machine.memory.free_bytes + held - spare)
        free = min(free, total) if total else free
        return Card(index=card.index, free_bytes=min(free, max(host, free)), metal=metal)
    known = card.memory_free_bytes if card.memory_free_bytes is not None else (total or 0)
    free = known + held // max(1, len(machine.usable))
    free = min(free, total) if total else free
    return Card(index=card.index, free_bytes=max(0, free - _card_reserve(card)), metal=metal)


def _card_reserve(card: Accelerator) -> int:
    return max(_CARD_RESERVE_BYTES, int(_CARD_RESERVE_SHARE * (card.memory_total_bytes or 0)))
