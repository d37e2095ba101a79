"""Estimate and measurement side by side, for a plot and a table: speeds with their confidence,
memory with how it was measured, and what memory is made of. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.machine import Machine
from orchestrator.report.graded import MemoryRow, SpeedRow, memory_rows, promised_of, speed_rows

Document = Mapping[str, Any]
_METRICS = {
    "decode": "decode_tps",
    "prefill": "prefill_tps",
    "load": "load_s",
    "load cold": "load_cold_s",
}
_PARTS = ("weights", "kv_cache", "compute")


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """A promised range beside a measured median, its 95 % interval and its number of samples."""

    row: SpeedRow
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """Memory in bytes by what it is for; None: unknown. `rest` is what was measured beyond the
    parts; `free` is left of the memory that was there; `whole`: measured in one sum only.
    """

    name: str
    weights: int | None = None
    kv_cache: int | None = None
    compute: int | None = None
    rest: int | None = None
    whole: int | None = None
    free: int | None = None

    @property
    def taken(self) -> int:
        """All that is not free."""
        parts = (self.weights, self.kv_cache, self.compute, self.rest, self.whole)
        return sum(p for p in parts if p)


def speeds(bench: Document) -> list[Speed]:
    """Return decode, prefill and load; beside a load from the disk the one that was not."""
    metrics = bench["metrics"]
    found = [_speed(row, metrics.get(_METRICS[row.name])) for row in speed_rows(bench)]
    warm = metrics.get("load_s")
    if warm and metrics.get("load_cold_s"):  # which is what the estimate is held against
        row = SpeedRow(name="load", unit="s", measured=warm["median"])
        found.append(_speed(row, warm))
    return [s for s in found if s.row.measured is not None or s.row.likely is not None]


def _speed(row: SpeedRow, metric: Document | None) -> Speed:
    if metric is None:
        return Speed(row=row)
    return Speed(row=row, ci_low=metric["ci_low"], ci_high=metric["ci_high"], n=metric["n"])


def memory(bench: Document) -> list[MemoryRow]:
    """Return the rows of memory of which something is known."""
    figures = (
        (r, (r.estimated_bytes, r.server_bytes, r.measured_bytes)) for r in memory_rows(bench)
    )
    return [row for row, known in figures if any(k is not None for k in known)]


def bars(bench: Document, machine: Machine | None) -> list[Bar]:
    """Return what memory is made of: as promised, and as measured, where either is known."""
    promised = promised_of(bench)
    found = [_promised(bench, promised, machine), _measured(bench, machine)]
    return [bar for bar in found if bar.taken]


def room_bytes(bench: Document, machine: Machine | None) -> int | None:
    """Return the memory that the run had: of the cards that it is on, or of the host.

    None: the machine is not known, or a card does not say.
    """
    if machine is None:
        return None
    used = {d["index"] for d in promised_of(bench).get("devices", ())} | {
        d["index"] for d in bench["memory"]["devices"]
    }
    if not used:
        return machine.memory.total_bytes
    sizes_of = {a.index: a.memory_total_bytes for a in machine.usable}
    sizes = [sizes_of.get(index) for index in used]
    return None if None in sizes else sum(s for s in sizes if s)


def _promised(bench: Document, promised: Document, machine: Machine | None) -> Bar:
    on_cards = [d["bytes"] for d in promised.get("devices", ())]
    taken = sum(on_cards) if on_cards else promised.get("total_bytes")
    return Bar(
        name="promised",
        weights=promised.get("weights_bytes"),
        kv_cache=promised.get("kv_cache_bytes"),
        compute=promised.get("compute_bytes"),
        rest=promised.get("overhead_bytes"),
        free=_free(room_bytes(bench, machine), taken),
    )


def _measured(bench: Document, machine: Machine | None) -> Bar:
    found, parts = bench["memory"], bench["memory"].get("parts")
    on_cards: Sequence[int | None] = [d["bytes"] for d in found["devices"]]
    taken = found["resident_bytes"] if not on_cards else None
    if on_cards and None not in on_cards:
        taken = sum(size or 0 for size in on_cards)
    free = _free(room_bytes(bench, machine), taken)
    known = [parts[f"{name}_bytes"] for name in _PARTS] if parts else []
    if not known or None in known:
        return Bar(name="measured", whole=taken, free=free)
    # Of a run on cards the parts include those on the host: then nobody knows what exceeds them.
    rest = taken - sum(known) if taken and taken > sum(known) else None
    weights, kv_cache, compute = known
    return Bar(
        name="measured", weights=weights, kv_cache=kv_cache, compute=compute, rest=rest, free=free
    )


def _free(room: int | None, taken: int | None) -> int | None:
    return None if room is None or taken is None else max(0, room - taken)
