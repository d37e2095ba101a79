"""One thing that a doctor looks at, and what he says of it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """`detail` says what was found, with its number and name; `remedy` what to do about it.

    fail: something is broken, and a person can mend it. warn: it works, and worse than it could, or
    not safely. A pass has no remedy.
    """

    name: str
    outcome: Outcome
    detail: str
    remedy: str | None = None


def passed(name: str, detail: str) -> Check:
    """Return a check that found all well."""
    return Check(name=name, outcome="pass", detail=detail)


def warned(name: str, detail: str, remedy: str) -> Check:
    """Return a check that found what works, and could be better or safer."""
    return Check(name=name, outcome="warn", detail=detail, remedy=remedy)


def failed(name: str, detail: str, remedy: str) -> Check:
    """Return a check that found something broken."""
    return Check(name=name, outcome="fail", detail=detail, remedy=remedy)


def document(checks: Iterable[Check]) -> dict[str, Any]:
    """Return the checks as JSON (schema `doctor`), with their counts and the worst outcome."""
    found = list(checks)
    counts = {name: sum(c.outcome == name for c in found) for name in ("pass", "warn", "fail")}
    worst = "fail" if counts["fail"] else "warn" if counts["warn"] else "pass"
    return {
        "schema": 1,
        "outcome": worst,
        "counts": counts,
        "checks": [asdict(check) for check in found],
    }
