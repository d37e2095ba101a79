"""Estimate against measurement, row by row, out of a bench document. Pure.

Memory has three figures that are never mixed: the estimate, what the server says (its own
estimate, so it is graded against nothing), and what was measured. Documents of an older deploy lack
keys; what they do not tell is None here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
PEAK_SHARE = 0.9
"""From this share of the context on that was filled, the memory measured is the peak."""
_PARTS = (("weights", "weights"), ("KV cache", "kv_cache"), ("compute", "compute"))


def signed_error(estimated: float | None, measured: float | None) -> float | None:
    """Return (measured - estimated) / measured; None where one of them is unknown or 0."""
    return (measured - estimated) / measured if estimated and measured else None


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryRow:
    """One kind of memory in bytes. `how` tells how it was measured, or why not."""

    part: str
    estimated_bytes: int | None = None
    server_bytes: int | None = None
    measured_bytes: int | None = None
    outcome: str | None = None
    how: str = ""

    @property
    def error(self) -> float | None:
        """The signed error of the estimate, as a share of what was measured."""
        return signed_error(self.estimated_bytes, self.measured_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedRow:
    """One rate or duration: its estimate from `low` to `high`, and the median measured."""

    name: str
    unit: str
    low: float | None = None
    likely: float | None = None
    high: float | None = None
    measured: float | None = None

    @property
    def error(self) -> float | None:
        """The signed error of the likely value, as a share of what was measured."""
        return signed_error(self.likely, self.measured)

    @property
    def inside(self) -> bool | None:
        """Whether what was measured lies between `low` and `high`; None: one is unknown."""
        if self.measured is None or self.low is None or self.high is None:
            return None
        return self.low <= self.measured <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRow:
    """What was measured of one shape of request, or of a load (0 tokens), as documents have it.

    `name` is the metric's in documents, `label` what a person calls it: pp512, tg128 @2048.
    """

    name: str
    label: str
    unit: str
    metric: Document
    prompt_tokens: int = 0
    generate_tokens: int = 0


def metric_rows(
    cells: Sequence[Document], loads: Document, each_load: Sequence[Document]
) -> Iterator[MetricRow]:
    """Yield prefill, decode and TTFT of every shape, then the loads; what nobody measured is left
    away. `loads` has load_cold_s and load_s, `each_load` where the file was before every one.
    """
    for name, word in (("prefill_tps", "prefill"), ("decode_tps", "decode"), ("ttft_s", "TTFT")):
        for cell in cells:
            prompt, tokens = cell["prompt_tokens"], cell["generate_tokens"]
            if cell[name]:
                yield MetricRow(
                    name=name,
                    label=f"{word} tg{tokens} @{prompt}"
                    if name == "decode_tps"
                    else f"{word} pp{prompt}",
                    unit="s" if name == "ttft_s" else "tokens/s",
                    metric=cell[name],
                    prompt_tokens=prompt,
                    generate_tokens=tokens,
                )
    others = {load["file_cache"] for load in each_load} - {"cold", "partly"}
    words = {"load_cold_s": "load cold", "load_s": "load"}
    if others == {"warm"}:  # else nobody knows where the file was
        words["load_s"] = "load file cached"
    for name, word in words.items():
        if metric := loads.get(name):
            yield MetricRow(name=name, label=word, unit="s", metric=metric)


def memory_rows(document: Document) -> list[MemoryRow]:
    """Return resident, each device, the engine's buffers, and the total that the server claims."""
    promised, memory = promised_of(document), document["memory"]
    outcomes = {c["name"].lower(): c["outcome"] for c in _checks(document)}
    resident = MemoryRow(
        part="resident",
        estimated_bytes=promised.get("resident_bytes"),
        measured_bytes=memory["resident_bytes"],
        outcome=outcomes.get("memory"),
        how=memory["resident_how"],
    )
    return [
        resident,
        *_devices(promised, memory, outcomes),
        *_buffers(promised, memory, outcomes),
        _total(promised, memory),
    ]


def _devices(promised: Document, memory: Document, outcomes: Document) -> Iterator[MemoryRow]:
    planned = {d["index"]: d["bytes"] for d in promised.get("devices", ())}
    seen = {d["index"]: d for d in memory["devices"]}
    for index in sorted(planned.keys() | seen.keys()):
        found = seen.get(index, {})
        yield MemoryRow(
            part=f"device {index}",
            estimated_bytes=planned.get(index),
            measured_bytes=found.get("bytes"),
            outcome=outcomes.get(f"memory of device {index}"),
            how=found.get("how") or memory["devices_how"],
        )


def _buffers(promised: Document, memory: Document, outcomes: Document) -> Iterator[MemoryRow]:
    """Yield the engine's own buffers; their sum is without what the driver takes beside them."""
    if not (parts := memory.get("parts")):
        return
    for name, key in _PARTS:
        yield MemoryRow(
            part=name,
            estimated_bytes=promised.get(f"{key}_bytes"),
            measured_bytes=parts[f"{key}_bytes"],
            outcome=outcomes.get(name.lower()),
            how=parts["how"],
        )
    total = promised.get("total_bytes")
    yield MemoryRow(
        part="buffers together",
        estimated_bytes=None if total is None else total - (promised["overhead_bytes"] or 0),
        measured_bytes=parts["total_bytes"],
        outcome=outcomes.get("total"),
        how=parts["how"],
    )


def _total(promised: Document, memory: Document) -> MemoryRow:
    return MemoryRow(
        part="all of it",
        estimated_bytes=promised.get("total_bytes"),
        server_bytes=memory["server_claim_bytes"],
    )


def speed_rows(document: Document) -> list[SpeedRow]:
    """Return decode and prefill of the main shape, and the load.

    The likely load of the estimate reads the file from a disk, and its range begins at one out of
    the file cache: a cold load is held against it where there was one.
    """
    metrics, promised = document["metrics"], promised_of(document)
    cold = metrics.get("load_cold_s")
    load = ("load cold", "s", promised.get("load_s"), cold)
    return [
        _speed_row("decode", "tokens/s", promised.get("decode_tps"), metrics.get("decode_tps")),
        _speed_row("prefill", "tokens/s", promised.get("prefill_tps"), metrics.get("prefill_tps")),
        _speed_row(*(load if cold else ("load", "s", load[2], metrics.get("load_s")))),
    ]


def _speed_row(name: str, unit: str, estimate: Any, metric: Document | None) -> SpeedRow:  # noqa: ANN401 - JSON
    low, likely, high = estimate or (None, None, None)
    measured = metric["median"] if metric else None
    return SpeedRow(name=name, unit=unit, low=low, likely=likely, high=high, measured=measured)


def promised_of(document: Document) -> Document:
    """Return the estimate; of an older document what its checks tell of it."""
    if found := document.get("promised"):
        return dict(found)
    told = {c["name"]: c["estimated"] for c in _checks(document)}
    name = "memory of device "
    devices = [
        {"index": int(k.removeprefix(name)), "bytes": v}
        for k, v in told.items()
        if k.startswith(name)
    ]
    return {"resident_bytes": told.get("memory"), "devices": devices}


def cells_of(document: Document) -> list[Document]:
    """Return one entry a shape of request; an older document has only the main one."""
    if cells := document.get("cells"):
        return list(cells)
    shape = {
        "prompt_tokens": document["prompt"]["tokens"],
        "generate_tokens": document["generate_tokens"],
    }
    names = ("prefill_tps", "decode_tps", "ttft_s")
    return [{**shape, **{name: document["metrics"].get(name) for name in names}}]


def peak_words(memory: Document) -> str:
    """Return whether the memory measured is the peak, or only that at so many tokens."""
    tokens, share = memory.get("filled_tokens"), memory.get("filled_share")
    if tokens is None or share is None:
        return "peak so far: how full the context was is not known"
    if share >= PEAK_SHARE:
        return f"peak, with {share:.0%} of the context filled"
    return f"peak at {tokens} tokens, {share:.0%} of the context"


def _checks(document: Document) -> list[Document]:
    verdict = document.get("verdict")
    return verdict["checks"] if verdict else []
