"""What was promised against what was measured: a range, and a dot with its interval."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.report.comparison import Bar, Speed
from orchestrator.report.graded import MemoryRow
from orchestrator.report.plots.palette import LIGHT
from orchestrator.report.plots.svg import Drawing, axes, blank, drawing, legend
from orchestrator.units import GIB

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_DEVICES = 8
_ROW, _AXIS, _HEAD, _FOOT = 19.0, 27.0, 30.0, 26.0  # points
_SEGMENTS = (
    ("weights", "weights", LIGHT["weights"]),
    ("kv_cache", "KV cache", LIGHT["kv"]),
    ("compute", "compute", LIGHT["compute"]),
    ("rest", "overhead", LIGHT["overhead"]),
    ("whole", "not told apart", LIGHT["measured"]),
    ("free", "free", LIGHT["free"]),
)


def promises(speeds: Sequence[Speed], memory: Sequence[MemoryRow]) -> Drawing | None:
    """Return decode, prefill, load and memory, an axis of its own a unit; None: nothing is known.

    Rows of memory are those of places (the host, a device), of which both figures are the same
    kind.
    """
    groups = [*_speed_groups(speeds), *_memory_groups(memory)]
    if not groups:
        return None
    heights = [_AXIS + _ROW * len(rows) for _, rows in groups]
    height = _HEAD + _FOOT + sum(heights)
    figure = blank(height)
    title = "Promised and measured"
    figure.text(0.02, 1 - 8 / height, title, va="top", fontsize=11.5)
    top = height - _HEAD
    for (unit, rows), size in zip(groups, heights, strict=True):
        box = (0.27, (top - size + _AXIS) / height, 0.69, (size - _AXIS) / height)
        _group(figure.add_axes(box), unit, rows)
        top -= size
    legend(figure, figure.axes[0])
    text = (
        "Each bar spans the promised range with its likely value, each dot is the median measured"
    )
    return drawing(figure, name="promises", title=title, text=text)


_Row = tuple[str, tuple[float | None, ...], tuple[float | None, ...]]
"""A name; promised low, likely, high; measured low, median, high."""


def _speed_groups(speeds: Sequence[Speed]) -> list[tuple[str, list[_Row]]]:
    found: dict[str, list[_Row]] = {}
    for s in speeds:
        name = s.row.name if s.row.unit == "tokens/s" else "load"
        row: _Row = (
            s.row.name,
            (s.row.low, s.row.likely, s.row.high),
            (s.ci_low, s.row.measured, s.ci_high),
        )
        found.setdefault(f"{name}|{s.row.unit}", []).append(row)
    return [(key.partition("|")[2], rows) for key, rows in found.items()]


def _memory_groups(memory: Sequence[MemoryRow]) -> list[tuple[str, list[_Row]]]:
    places = [r for r in memory if r.part == "resident" or r.part.startswith("device ")]
    rows: list[_Row] = []
    for r in places[: _MOST_DEVICES + 1]:
        name = "host memory" if r.part == "resident" else r.part.replace("device", "GPU")
        rows.append(
            (name, (None, _gib(r.estimated_bytes), None), (None, _gib(r.measured_bytes), None))
        )
    return [("GiB", rows)] if rows else []


def _gib(size: int | None) -> float | None:
    return None if size is None else size / GIB


def _group(plot: "Axes", unit: str, rows: Sequence[_Row]) -> None:
    """Draw rows of one unit from the top down; the axis begins at zero."""
    plot.patch.set_visible(False)
    plot.grid(visible=False)
    plot.grid(visible=True, axis="x")
    plot.spines["left"].set_visible(False)
    for place, (_, promised, measured) in enumerate(rows):
        _promise(plot, place, promised)
        _measurement(plot, place, measured)
    plot.set_yticks(range(len(rows)), [f"{name}, {unit}" for name, _, _ in rows])
    plot.tick_params(axis="y", length=0)
    plot.tick_params(axis="x", pad=2, length=2, labelsize=9)
    plot.set_ylim(len(rows) - 0.5, -0.5)
    known = [v for _, *pair in rows for values in pair for v in values if v is not None]
    plot.set_xlim(0, 1.08 * max(known, default=1.0) or 1.0)


def _promise(plot: "Axes", place: int, promised: tuple[float | None, ...]) -> None:
    low, likely, high = promised
    if low is not None and high is not None:
        plot.barh(
            place,
            high - low,
            left=low,
            height=0.5,
            color=LIGHT["promised"],
            alpha=0.45,
            label=None if place else "promised range",
        )
    if likely is not None:
        plot.plot(
            [likely, likely],
            [place - 0.33, place + 0.33],
            color=LIGHT["ink"],
            lw=1.6,
            label=None if place else "promised, likely",
        )


def _measurement(plot: "Axes", place: int, measured: tuple[float | None, ...]) -> None:
    low, middle, high = measured
    if middle is None:
        return
    if low is not None and high is not None:
        plot.plot([low, high], [place, place], color=LIGHT["measured"], lw=2.4, gid="interval")
    plot.plot(
        middle,
        place,
        ls="",
        marker="o",
        ms=6,
        color=LIGHT["measured"],
        label=None if place else "measured, 95 % interval",
        gid="measured",
    )


def stacked(bars: Sequence[Bar]) -> Drawing | None:
    """Return what memory is made of, a bar each for promised and measured; None: nothing is known.

    A segment nobody knows is not drawn.
    """
    if not bars:
        return None
    figure = blank(82 + 34 * len(bars))
    title = "Memory by use, GiB"
    plot = axes(figure, title, "", bottom=0.44 if len(bars) > 1 else 0.52)
    figure.subplots_adjust(left=0.19, top=0.83)
    plot.grid(visible=False)
    plot.grid(visible=True, axis="x")
    left = [0.0] * len(bars)
    for key, label, colour in _SEGMENTS:
        sizes = [(getattr(bar, key) or 0) / GIB for bar in bars]
        if any(sizes):
            plot.barh(
                range(len(bars)), sizes, left=left, height=0.62, color=colour, label=label, gid=key
            )
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    plot.set_yticks(range(len(bars)), [bar.name for bar in bars])
    plot.tick_params(axis="y", length=0)
    plot.set_ylim(len(bars) - 0.5, -0.5)
    legend(figure, plot, columns=5)
    text = "Weights, KV cache, compute buffers, overhead and what is left free"
    return drawing(figure, name="memory", title=title, text=text)
