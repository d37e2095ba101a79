"""The page of `deploy report`: one HTML file that needs nothing else, and its plots.

Everything out of the ledger is data: the template escapes all of it. The page has no script, and
forbids itself every request. The same contents give the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator import __version__
from orchestrator.report.comparison import bars, memory, speeds
from orchestrator.report.contents import MOST_RUNS, Contents
from orchestrator.report.graded import cells_of, peak_words, promised_of
from orchestrator.report.history import BINS, MOST_LINES, SHOWN_EACH, changes, kind
from orchestrator.report.plots.over_time import METRICS, MOST_CHANGES, over_time
from orchestrator.report.plots.palette import DARK, LIGHT, variables
from orchestrator.report.plots.promises import promises, stacked
from orchestrator.report.plots.svg import Drawing, drawing_style
from orchestrator.report.plots.sweeps import by_depth, rate_by_users, wait_by_users
from orchestrator.units import duration, gib

Document = Mapping[str, Any]
UNKNOWN = "\N{EN DASH}"
_PERCENT = "\N{NO-BREAK SPACE}%"
_LAST_RUNS, _LAST_REGRESSIONS, _NEAREST = 20, 10, 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Plots:
    """The plots of a report by the part of the page that they stand in."""

    estimate: Sequence[Drawing]
    history: Sequence[Drawing]
    sweeps: Sequence[Drawing]

    @property
    def all(self) -> list[Drawing]:
        """Every plot, in the order of the page."""
        return [*self.estimate, *self.history, *self.sweeps]


def plots(of: Contents) -> Plots:
    """Draw what the contents have enough for."""
    with drawing_style():
        return Plots(estimate=_estimate(of), history=_history(of), sweeps=_sweeps(of))


def _estimate(of: Contents) -> list[Drawing]:
    if of.newest is None:
        return []
    found = (
        promises(speeds(of.newest), memory(of.newest)),
        stacked(bars(of.newest, of.machine)),
    )
    return [d for d in found if d]


def _history(of: Contents) -> list[Drawing]:
    changed = changes(of.rows)
    found = (over_time(of.rows, changed, *metric) for metric in METRICS)
    return [d for d in found if d]


def _sweeps(of: Contents) -> list[Drawing]:
    cells = cells_of(of.deepest) if of.deepest else []
    levels = of.crowded["concurrency"] if of.crowded else []
    found = (
        by_depth(cells, "decode_tps", "depth-decode", "Decode behind a prompt, tokens/s"),
        by_depth(cells, "prefill_tps", "depth-prefill", "Prefill by length, tokens/s"),
        rate_by_users(levels),
        wait_by_users(levels),
    )
    return [d for d in found if d]


def page(of: Contents, drawn: Plots) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("orchestrator.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    return environment.get_template("page.html").render(
        of=of,
        plots=drawn,
        light=variables(LIGHT),
        dark=variables(DARK),
        version=__version__,
        **_views(of),
    )


def _views(of: Contents) -> dict[str, Any]:
    bad = [r for r in of.rows if kind(r) in ("regressed", "suspected")]
    changed = changes(of.rows)
    return {
        "deployed": [_deployed(d) for d in of.deployments],
        "speeds": speeds(of.newest) if of.newest else [],
        "memory": memory(of.newest) if of.newest else [],
        "bars": bars(of.newest, of.machine) if of.newest else [],
        "peak": peak_words(of.newest["memory"]) if of.newest else "",
        "promised": promised_of(of.newest) if of.newest else {},
        "cells": cells_of(of.deepest) if of.deepest else [],
        "changes": changed[-MOST_CHANGES:],
        "earlier_changes": max(0, len(changed) - MOST_CHANGES),
        "regressions": bad[: -_LAST_REGRESSIONS - 1 : -1],
        "all_regressions": len(bad),
        "last": of.rows[: -_LAST_RUNS - 1 : -1],
        "binned": len(of.rows) > SHOWN_EACH,
        "limits": {"bins": BINS, "lines": MOST_LINES, "each": SHOWN_EACH, "runs": MOST_RUNS},
    }


def _deployed(document: Document) -> dict[str, Any]:
    """Return a deployment with the reason for it, and what ranks before it, the nearest first."""
    nearest = document["rejected"][::-1]
    why = document.get("why") or (
        f"the first in the order of profile {document['profile']} that fits "
        f"({len(nearest)} rejected)"
    )
    return {
        "document": document,
        "why": why,
        "nearest": nearest[:_NEAREST],
        "further": nearest[_NEAREST:],
    }


def _number(value: float | None, digits: int | None = None) -> str:
    """Return a rate or a duration with three digits that mean something, or as many as asked."""
    if value is None:
        return UNKNOWN
    if digits is None:
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def _size(value: float | None) -> str:
    if not value:
        return UNKNOWN if value is None else "0"
    return gib(value)


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:+.1f}{_PERCENT}"


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.0f}{_PERCENT}"


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else duration(value)


def _known(value: object) -> str:
    return UNKNOWN if value is None else str(value)


def _switch(value: bool | None) -> str:  # noqa: FBT001 - a word for it
    return UNKNOWN if value is None else "on" if value else "off"


def _minute(text: str) -> str:
    """Return a time as people write it, in UTC."""
    at = datetime.fromisoformat(text)
    return (at.astimezone(UTC) if at.tzinfo else at).strftime("%Y-%m-%d %H:%M")


def _interval(metric: Document | None) -> str:
    if not metric or metric["ci_low"] is None:
        return UNKNOWN
    return f"{_number(metric['ci_low'])} to {_number(metric['ci_high'])}"


_FILTERS = {
    "number": _number,
    "size": _size,
    "share": _share,
    "percent": _percent,
    "seconds": _seconds,
    "known": _known,
    "switch": _switch,
    "minute": _minute,
    "interval": _interval,
    "family": lambda model: model.removesuffix(":latest"),
}
