"""Speed by the length of the prompt, and by the number of users."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.report.plots.palette import LIGHT
from orchestrator.report.plots.svg import Drawing, axes, blank, drawing, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Document = Mapping[str, Any]


def by_depth(cells: Sequence[Document], metric: str, name: str, title: str) -> Drawing | None:
    """Return a metric of cells by the length of their prompts; None: fewer than two have it."""
    taken = [c for c in cells if c[metric]]
    if len({c["prompt_tokens"] for c in taken}) < 2:
        return None
    figure = blank()
    plot = axes(figure, title, "prompt, tokens (logarithmic)", bottom=0.3)
    lengths = [c["prompt_tokens"] for c in taken]
    _points(plot, lengths, [c[metric] for c in taken], "median, 95 % interval", LIGHT["measured"])
    plot.set_xscale("log", base=2)
    _ticks(plot, lengths)
    plot.set_ylim(bottom=0)
    legend(figure, plot)
    text = f"Measured with prompts of {', '.join(map(str, lengths))} tokens"
    return drawing(figure, name=name, title=title, text=text)


def rate_by_users(levels: Sequence[Document]) -> Drawing | None:
    """Return the rate of all users together and of each by their number; None: fewer than two."""
    if len(levels) < 2:
        return None
    title = "Decode by users, tokens/s"
    figure = blank()
    plot = axes(figure, title, "users at once", bottom=0.3)
    users = [level["users"] for level in levels]
    sums = [level["aggregate_tps"] for level in levels]
    line, *_ = plot.plot(users, sums, color=LIGHT["kv"], label="all together", gid="aggregate")
    line.set(linewidth=1.4, marker="s", markersize=5)
    each = [level["per_user_tps"] for level in levels]
    _points(plot, users, each, "each, 95 % interval", LIGHT["measured"])
    _by_users(plot, levels, sums)
    legend(figure, plot)
    return drawing(figure, name="users-rate", title=title, text=_said(levels))


def wait_by_users(levels: Sequence[Document]) -> Drawing | None:
    """Return the time to the first token by the number of users; None: fewer than two."""
    if sum(1 for level in levels if level["ttft_s"]) < 2:
        return None
    title = "Time to first token by users, s"
    figure = blank()
    plot = axes(figure, title, "users at once", bottom=0.3)
    users, waits = [level["users"] for level in levels], [level["ttft_s"] for level in levels]
    _points(plot, users, waits, "median, 95 % interval", LIGHT["measured"])
    known = [(u, level["ttft_p90_s"]) for u, level in zip(users, levels, strict=True)]
    if late := [(u, p90) for u, p90 in known if p90 is not None]:
        at, values = zip(*late, strict=True)
        plot.plot(at, values, ls="", marker="_", ms=11, color=LIGHT["warn"], label="p90")
    _by_users(plot, levels, [w["median"] if w else 0.0 for w in waits])
    legend(figure, plot)
    return drawing(figure, name="users-wait", title=title, text=_said(levels))


def _said(levels: Sequence[Document]) -> str:
    return f"Measured with {', '.join(str(level['users']) for level in levels)} users at once"


def _points(
    plot: "Axes", at: Sequence[int], metrics: Sequence[Document | None], label: str, colour: str
) -> None:
    pairs = [(x, m) for x, m in zip(at, metrics, strict=True) if m]
    bounded = [(x, m) for x, m in pairs if m["ci_low"] is not None]
    lows, highs = [m["ci_low"] for _, m in bounded], [m["ci_high"] for _, m in bounded]
    plot.vlines([x for x, _ in bounded], lows, highs, color=colour, lw=2.2, alpha=0.55)
    plot.plot(
        [x for x, _ in pairs],
        [m["median"] for _, m in pairs],
        color=colour,
        lw=1.4,
        marker="o",
        ms=5,
        label=label,
        gid="medians",
    )


def _by_users(plot: "Axes", levels: Sequence[Document], values: Sequence[float]) -> None:
    """Mark what was queued, and name the numbers of users; the axis begins at zero."""
    pairs = zip(levels, values, strict=True)
    if queued := [(level["users"], value) for level, value in pairs if level["queued"]]:
        at, seen = zip(*queued, strict=True)
        plot.plot(
            at,
            seen,
            ls="",
            marker="o",
            ms=11,
            mfc="none",
            color=LIGHT["dim"],
            label="queued",
            gid="queued",
        )
    plot.set_xscale("log", base=2)
    _ticks(plot, [level["users"] for level in levels])
    plot.set_ylim(bottom=0)


def _ticks(plot: "Axes", values: Sequence[int]) -> None:
    """Name exactly the values that were measured; the first of several that would collide."""
    from matplotlib.ticker import NullLocator

    plot.set_xticks(values, [str(v) for v in values])
    plot.xaxis.set_minor_locator(NullLocator())
    plot.set_xlim(min(values) / 1.25, max(values) * 1.25)
