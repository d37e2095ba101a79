"""Many runs of one model in few marks: which line, which bin, what changed between. Pure.

A line joins runs of one key only: others may not be compared. Runs that are no baseline (noise,
inconclusive, cut short) are marked and never joined or averaged.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from statistics import median
from typing import Any, Literal

Row = Mapping[str, Any]
Kind = Literal["sound", "regressed", "suspected", "unsure"]
SHOWN_EACH = 200
"""Up to so many runs each is drawn by itself; beyond them bins are."""
BINS = 120
MOST_LINES = 12
_DERIVED = re.compile(r"^deploy/(.+)-ctx\d+(?:-[0-9a-f]{6})?$")
_SAID = (
    ("server_version", "Ollama"),
    ("runtime", "runtime"),
    ("machine", "machine"),
    ("quantization", "quantization"),
    ("context", "context"),
    ("parallel", "slots"),
    ("placement", "placement"),
)


@cache
def family(model: str) -> str:
    """Return the tag behind a derived name: deploy/qwen3:8b-ctx4096 is measured as qwen3:8b."""
    found = _DERIVED.match(model)
    return found[1] if found else model


def when(row: Row) -> datetime:
    """Return when a run began, in UTC."""
    at = datetime.fromisoformat(row["at"])
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def kind(row: Row) -> Kind:
    """Return what a run's mark says. What a comparison found stands above its use as a baseline."""
    if row["comparison"] == "regressed":
        return "regressed"
    if row["comparison"] == "suspected":
        return "suspected"
    return "unsure" if row["standing"] == "out" else "sound"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Where runs of another key begin: what differs from the run before."""

    number: int
    row: Row
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """One run, or the runs of one bin: the median of `n`, and their range.

    Of one run `low` and `high` are its confidence interval; None: it has none.
    """

    at: datetime
    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """One metric over time. `lines` has the joined dots, one sequence a key; `marks` the others.

    `binned`: dots are bins of equal width in time. `left_out` counts runs of keys that are older
    than those drawn.
    """

    lines: Sequence[Sequence[Dot]]
    marks: Mapping[Kind, Sequence[Dot]]
    binned: bool
    n: int
    left_out: int


def changes(rows: Sequence[Row]) -> list[Change]:
    """Return where each key first appears among rows, oldest first; the first is no change."""
    known: dict[str, Row] = {}
    found: list[Change] = []
    for before, row in pairwise(rows):
        known.setdefault(before["key"], before)
        if row["key"] not in known:
            found.append(Change(number=len(found) + 1, row=row, text=_difference(before, row)))
            known[row["key"]] = row
    return found


def _difference(before: Row, after: Row) -> str:
    said = [
        f"{name} {_word(before[key])} → {_word(after[key])}"
        for key, name in _SAID
        if before[key] != after[key]
    ]
    return "; ".join(said) or "other weights or other settings"


def _word(value: object) -> str:
    return "unknown" if value is None else str(value)


def track(rows: Sequence[Row], metric: str) -> Track:
    """Return the metric of rows, oldest first; runs that lack it are not among them."""
    taken = [r for r in rows if r[metric] is not None]
    newest = list(dict.fromkeys(r["key"] for r in reversed(taken)))[:MOST_LINES]
    drawn = [r for r in taken if r["key"] in newest]
    binned = len(drawn) > SHOWN_EACH
    shown = _bins(drawn) if binned else [[r] for r in drawn]
    lines = {key: list[Dot]() for key in reversed(newest)}
    marks: dict[Kind, list[Dot]] = {"regressed": [], "suspected": [], "unsure": []}
    for group in shown:
        kinds = [kind(r) for r in group]
        joined = [r for r, each in zip(group, kinds, strict=True) if each != "unsure"]
        for key, some in _by_key(joined).items():
            lines[key].append(_dot(some, metric, binned=binned))
        for each in set(kinds) & set(marks):
            some = [r for r, found in zip(group, kinds, strict=True) if found == each]
            marks[each].append(_dot(some, metric, binned=binned))
    return Track(
        lines=[line for line in lines.values() if line],
        marks=marks,
        binned=binned,
        n=len(drawn),
        left_out=len(taken) - len(drawn),
    )


def _bins(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield the rows of each bin that has some; bins are equally wide in time."""
    first, last = when(rows[0]).timestamp(), when(rows[-1]).timestamp()
    width = (last - first) / BINS or 1.0
    groups: dict[int, list[Row]] = {}
    for row in rows:
        number = int((when(row).timestamp() - first) / width)
        groups.setdefault(min(max(number, 0), BINS - 1), []).append(row)
    yield from (groups[number] for number in sorted(groups))


def _by_key(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["key"], []).append(row)
    return found


def _dot(rows: Sequence[Row], metric: str, *, binned: bool) -> Dot:
    values = [r[metric] for r in rows]
    low: float | None = min(values)
    high: float | None = max(values)
    if not binned:
        decode = metric == "decode_tps"  # the only metric whose interval the light rows carry
        low, high = (rows[0]["decode_low"], rows[0]["decode_high"]) if decode else (None, None)
    middle = rows[len(rows) // 2]
    return Dot(at=when(middle), value=median(values), low=low, high=high, n=len(rows))
