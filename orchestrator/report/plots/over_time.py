"""One metric over all runs: a line a key, bins where there are many, marks for what went wrong."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.report.history import Change, Dot, Kind, Row, Track, track, when
from orchestrator.report.plots.palette import LIGHT
from orchestrator.report.plots.svg import Drawing, axes, blank, drawing, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = (
    ("decode_tps", "decode", "Decode, tokens/s"),
    ("prefill_tps", "prefill", "Prefill, tokens/s"),
    ("ttft_s", "ttft", "Time to first token, s"),
    ("load_s", "load", "Load of the model, s"),
)
MOST_CHANGES = 12
_JUDGED = ("decode_tps", "prefill_tps")  # what a comparison looks at
_MARKS: dict[Kind, tuple[str, str, str, bool]] = {
    "unsure": ("no baseline", "o", LIGHT["dim"], False),
    "suspected": ("suspected", "D", LIGHT["warn"], False),
    "regressed": ("regressed", "v", LIGHT["bad"], True),
}
_LEAST_SPAN = 0.1  # of the median, each way: noise must not look like mountains


def over_time(
    rows: Sequence[Row], changes: Sequence[Change], metric: str, name: str, title: str
) -> Drawing | None:
    """Return the plot of a metric of rows, oldest first; None: fewer than two runs have it."""
    found = track(rows, metric)
    if found.n < 2:
        return None
    figure = blank()
    plot = axes(figure, title, "")
    _lines(plot, found)
    _marks(plot, found, metric)
    pinned = next((r for r in reversed(rows) if r["standing"] == "pinned"), None)
    if pinned and pinned[metric] is not None:
        label = f"pinned #{pinned['id']}"
        plot.axhline(pinned[metric], color=LIGHT["good"], lw=1.1, ls=(0, (6, 3)), label=label)
    _scale(plot, found)
    _changes(plot, changes)
    legend(figure, plot)
    return drawing(figure, name=f"history-{name}", title=f"{title} over time", text=_text(found))


def _lines(plot: "Axes", found: Track) -> None:
    from numpy import nan

    # A gap parts the lines of the keys: one artist, however many there are.
    gap = Dot(at=found.lines[0][0].at, value=nan, low=nan, high=nan, n=0) if found.lines else None
    dots = [dot for line in found.lines for dot in (*line, gap) if dot]
    if not dots:
        return
    times, values = [_day(d.at) for d in dots], [d.value for d in dots]
    bounded = [d for d in dots if d.low is not None and d.high is not None]
    lows, highs = [d.low or nan for d in bounded], [d.high or nan for d in bounded]
    if found.binned:
        plot.fill_between(
            times, lows, highs, color=LIGHT["measured"], alpha=0.22, lw=0, label="min..max"
        )
        plot.plot(times, values, color=LIGHT["measured"], lw=1.4, label="median", gid="runs")
        return
    plot.vlines(
        [_day(d.at) for d in bounded], lows, highs, color=LIGHT["measured"], lw=1, alpha=0.6
    )
    line, *_ = plot.plot(times, values, color=LIGHT["measured"], lw=1.2, label="run", gid="runs")
    line.set(marker="o", markersize=3.6, markeredgewidth=0)


def _marks(plot: "Axes", found: Track, metric: str) -> None:
    for each, (label, shape, colour, filled) in _MARKS.items():
        dots = found.marks[each]
        if not dots or (each != "unsure" and metric not in _JUDGED):
            continue
        plot.plot(
            [_day(d.at) for d in dots],
            [d.value for d in dots],
            ls="",
            marker=shape,
            ms=5.5,
            mew=1.2,
            color=colour,
            mfc=colour if filled else "none",
            label=f"{label} ({sum(d.n for d in dots)})",
            gid=each,
        )


def _scale(plot: "Axes", found: Track) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    plot.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    plot.xaxis.set_major_formatter(formatter)
    everything = [*found.lines, *found.marks.values()]
    values = sorted(d.value for dots in everything for d in dots)
    middle = values[len(values) // 2]
    low, high = plot.get_ylim()
    low, high = min(low, middle * (1 - _LEAST_SPAN)), max(high, middle * (1 + _LEAST_SPAN))
    plot.set_ylim(max(0.0, low), high)


def _changes(plot: "Axes", changes: Sequence[Change]) -> None:
    for change in changes[-MOST_CHANGES:]:
        at = _day(when(change.row))
        plot.axvline(
            at, color=LIGHT["overhead"], lw=1, ls=(0, (2, 2)), gid=f"change-{change.number}"
        )
        plot.annotate(
            str(change.number),
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 1),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            color=LIGHT["overhead"],
        )


def _day(at: datetime) -> float:
    """Return a time as matplotlib counts it: days since 1970, UTC."""
    return at.timestamp() / 86_400


def _text(found: Track) -> str:
    shown = "the median and the range of each bin in time" if found.binned else "each run"
    return f"{found.n} runs: {shown}, one line for runs that may be compared"
