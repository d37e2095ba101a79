"""Measured against promised: one check a number, each with its signed error, and what follows."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["passed", "warned", "failed", "unverified", "inconclusive"]
_WORST_FIRST: tuple[Outcome, ...] = ("inconclusive", "failed", "unverified", "warned", "passed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """What the plan promised. None: it promised nothing about that, and nothing is checked.

    `resident_bytes` is host memory of the runner; `devices` device index -> bytes; `placement` any
    word that the measurement uses too ("cpu", "gpu"); rates in tokens/s. `min_tps` 0: no floor.
    `parts` are the engine's buffers by name, in bytes; `settings` context, slots and cache type in
    words.
    """

    resident_bytes: int | None = None
    devices: tuple[tuple[int, int], ...] = ()
    placement: str | None = None
    decode_tps: float | None = None
    min_tps: float = 0.0
    parts: tuple[tuple[str, int], ...] = ()
    settings: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was measured. None: it could not be, and the text beside it says why.

    `noisy`: the rate was not taken on a quiet box. `disturbed`: who else used the server meanwhile.
    `failed_at`: after samples were taken the model failed at that, and how.
    """

    resident_bytes: int | None = None
    resident_how: str = ""
    devices: tuple[tuple[int, int | None, str], ...] = ()
    devices_how: str = ""
    placement: str | None = None
    decode_tps: float | None = None
    noisy: bool = False
    disturbed: str | None = None
    parts: tuple[tuple[str, int | None], ...] = ()
    parts_how: str = ""
    settings: str | None = None
    failed_at: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerances:
    """Shares of the measured memory up to which an error passes, and up to which it warns."""

    memory_pass: float = 0.10
    memory_warn: float = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One promise. `error` is (measured - estimated) / measured; None where it has no meaning."""

    name: str
    estimated: float | str | None
    measured: float | str | None
    error: float | None
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """All checks and what they come to together."""

    outcome: Outcome
    checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as the bench document carries it."""
        return {"outcome": self.outcome, "checks": [asdict(c) for c in self.checks]}


def judge(promise: Promise, measured: Measured, tolerances: Tolerances | None = None) -> Verdict:
    """Return the verdict. Memory that could not be measured never passes: it is "unverified".

    Noise decides nothing about memory: with memory good and speed noisy the whole passes, and the
    speed check says "unverified (noise)".
    """
    memory = _memory_checks(promise, measured, tolerances or Tolerances())
    speed = _speed_check(promise, measured)
    parts = _part_checks(promise, measured, tolerances or Tolerances())
    settings = _settings_checks(promise, measured)
    checks = [*memory, *parts, *_placement_checks(promise, measured), *settings, speed]
    if measured.failed_at is not None:
        checks.append(_failed(*measured.failed_at))
    if measured.disturbed is not None:
        checks.append(_inconclusive(measured.disturbed))
    decisive: list[Outcome] = [c.outcome for c in checks if not _is_noise(c)]
    if not memory:
        decisive.append("unverified")
    worst = next(o for o in _WORST_FIRST if o in decisive)
    return Verdict(outcome=worst, checks=tuple(checks))


def _memory_checks(promise: Promise, measured: Measured, allowed: Tolerances) -> list[Check]:
    checks = []
    if promise.resident_bytes is not None:
        found = measured.resident_bytes
        how = measured.resident_how
        checks.append(_memory_check("memory", promise.resident_bytes, found, how, allowed))
    seen = {index: (size, how) for index, size, how in measured.devices}
    for index, estimated in promise.devices:
        size, how = seen.get(index, (None, measured.devices_how))
        checks.append(_memory_check(f"memory of device {index}", estimated, size, how, allowed))
    return checks


def _memory_check(
    name: str, estimated: int, measured: int | None, how: str, allowed: Tolerances
) -> Check:
    if not measured:
        why = how or "not measured"
        return Check(
            name=name,
            estimated=estimated,
            measured=measured,
            error=None,
            outcome="unverified",
            detail=why,
        )
    error = (measured - estimated) / measured
    outcome: Outcome = "failed"
    if abs(error) <= allowed.memory_warn:
        outcome = "passed" if abs(error) <= allowed.memory_pass else "warned"
    more = "more" if error > 0 else "less"
    detail = how if outcome == "passed" else f"took {abs(error):.0%} {more} than promised; {how}"
    return Check(
        name=name,
        estimated=estimated,
        measured=measured,
        error=error,
        outcome=outcome,
        detail=detail,
    )


def _part_checks(promise: Promise, measured: Measured, allowed: Tolerances) -> list[Check]:
    """Grade the buffers that the engine names; a log that does not name them proves nothing."""
    found = dict(measured.parts)
    return [
        _memory_check(name, estimated, size, measured.parts_how, allowed)
        for name, estimated in promise.parts
        if (size := found.get(name))
    ]


def _settings_checks(promise: Promise, measured: Measured) -> list[Check]:
    """Warn where the engine runs with other settings than the estimate: another thing is graded."""
    if promise.settings is None or measured.settings is None:
        return []
    same = promise.settings == measured.settings
    return [
        Check(
            name="settings in effect",
            estimated=promise.settings,
            measured=measured.settings,
            error=None,
            outcome="passed" if same else "warned",
            detail="" if same else f"{measured.settings}, not {promise.settings}",
        )
    ]


def _placement_checks(promise: Promise, measured: Measured) -> list[Check]:
    if promise.placement is None:
        return []
    outcome: Outcome = "passed" if measured.placement == promise.placement else "failed"
    return [
        Check(
            name="placement",
            estimated=promise.placement,
            measured=measured.placement,
            error=None,
            outcome="unverified" if measured.placement is None else outcome,
            detail="the server does not say" if measured.placement is None else "",
        )
    ]


def _speed_check(promise: Promise, measured: Measured) -> Check:
    rate, likely = measured.decode_tps, promise.decode_tps
    outcome: Outcome = "passed"
    detail = ""
    if not rate:
        outcome, detail = "unverified", "no sample counts"
    elif measured.noisy:
        outcome, detail = "unverified", _NOISE
    elif rate < promise.min_tps:
        outcome = "failed"
        detail = f"{rate:.3g} tokens/s is below the floor of {promise.min_tps:g}"
    return Check(
        name="decode speed",
        estimated=likely,
        measured=rate,
        error=(rate - likely) / rate if rate and likely else None,
        outcome=outcome,
        detail=detail,
    )


_NOISE = "unverified (noise)"


def _is_noise(check: Check) -> bool:
    return check.outcome == "unverified" and check.detail == _NOISE


def _failed(at: str, how: str) -> Check:
    return Check(name=at, estimated=None, measured=None, error=None, outcome="failed", detail=how)


def _inconclusive(who: str) -> Check:
    return Check(
        name="alone on the server",
        estimated=None,
        measured=None,
        error=None,
        outcome="inconclusive",
        detail=who,
    )
