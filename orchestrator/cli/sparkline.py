"""Small pictures in a line of text: a sparkline, a bar; plain ASCII where the stream needs it."""

import sys
from collections.abc import Sequence

_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.,-=+*#"
_BAR, _ASCII_BAR = "█", "#"


def sparkline(values: Sequence[float | None]) -> str:
    """Return one character a value, the lowest of them lowest; a blank where it is unknown.

    All alike stand in the middle: there is nothing to see in them.
    """
    known = [v for v in values if v is not None]
    if not known:
        return ""
    steps = _fitting(_BLOCKS, _ASCII)
    low, span = min(known), max(known) - min(known)
    middle = steps[len(steps) // 2]

    def step(value: float) -> str:
        return steps[round((value - low) / span * (len(steps) - 1))] if span else middle

    return "".join(" " if v is None else step(v) for v in values)


def bar(value: float, most: float, width: int) -> str:
    """Return a bar whose length is to `width` as `value` is to `most`; any value above 0 shows."""
    length = round(width * value / most) if most > 0 else 0
    return _fitting(_BAR, _ASCII_BAR) * (max(1, length) if value > 0 else 0)


def _fitting(wanted: str, plain: str) -> str:
    """Return `wanted` where standard output can carry it, else `plain`."""
    try:
        wanted.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return plain
    return wanted
