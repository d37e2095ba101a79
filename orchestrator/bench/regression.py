"""Is it slower than it was? Runs against good runs of the same kind before them. Pure.

Runs differ by more than their samples do: clocks, neighbours, where pages lie. So what counts as a
loss follows from how far good runs lie apart, and one run alone never raises an alarm: of two runs
the faster counts, of more the upper middle. Runs of one night share what disturbs that night, so
they count as one when it comes to how far their middle may be off.

Simulated, by the box of the tests, for decode and prefill together, with a pin, and with what
`measure` does: a suspicion is measured again at once, what it leaves open counts the next night,
and is let go where that is good. Runs scatter by 1 to 6 %, half of the variance being the night's;
a drift of 0.5 % comes and goes within weeks; 3 % of the runs are spoilt and lose 10 to 40 %. 200
histories of 200 nights without change a scatter (seeds from 10,000 on, by which nothing here was
chosen):

    scatter                   1 %   2 %   3 %   6 %
    alarms, mean              0.2   0.3   0.5   0.6
    more than two, of 200      0     0     3     6

It takes the scatter of SCATTER_RUNS runs: by that of ten many more have more than two at 3 %.
A loss of 8 % after 30 good nights is found by the second night on all of 100 boxes at 1 and 1.5 %,
on 97 at 2 %.
"""

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Run = Sequence[float]
"""The clean samples of one run, of a metric where more is better."""

Outcome = Literal["unknown", "same", "better", "suspected", "regressed"]
ScatterOf = Literal["runs", "samples"]

LEAST_RUNS = 3
"""Fewer runs than that tell nothing of how far runs lie apart."""
MOST_RUNS = 10
"""What is older than that may have been another box: a rolling baseline forgets it."""
SCATTER_RUNS = 30
"""How far runs lie apart changes less than where they lie, and takes more of them to know."""
# As long as fewer than MOST_RUNS are known, the missing ones are taken to lie that far apart:
# three runs that agree by chance raised most of the false alarms.
_PRESUMED_SCATTER = 0.04
_DRAWS = 1000
_DRAWS_A_RESAMPLE = 10  # drawn again ten times with those of other runs: as good, and cheaper
_SEED = 19_930_512
_CONFIDENCE = 0.95
_NORMAL_MAD = 1.4826
# Makes Qn estimate the standard deviation of n normal values (Croux and Rousseeuw, Time-efficient
# algorithms for two highly robust estimators of scale, 1992).
_NORMAL_QN = 2.2219
_SMALL = {2: 0.399, 3: 0.994, 4: 0.512, 5: 0.844, 6: 0.611, 7: 0.857, 8: 0.669, 9: 0.872}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What is a loss: at least `floor`, a share, and `alarm` standard deviations of what good runs
    may be off by; from `suspicion` of them, or `suspicious_floor`, a run is made again.
    """

    floor: float
    suspicious_floor: float
    alarm: float
    suspicion: float


SUDDEN = Rule(floor=0.05, suspicious_floor=0.03, alarm=3.0, suspicion=2.0)
"""Against the newest runs. A loss below 5 % is none that anybody would act on."""
ONE = Rule(floor=0.05, suspicious_floor=0.03, alarm=4.0, suspicion=3.0)
"""Against one run that somebody named: it may be off itself."""
SLOW = Rule(floor=0.10, suspicious_floor=0.08, alarm=4.0, suspicion=3.0)
"""Against one run of long ago, night for night: boxes drift by some percent and back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """How the newest runs compare with a baseline; rates in the metric's unit.

    `ratio` is `newest` over `baseline`: 0.92 is 8 % slower. `ci_low` and `ci_high` bound it with
    95 % confidence. `scatter` is how far good runs lie apart, as a share, or where too few are
    known samples within a run (`scatter_of`); `threshold` the loss from which on `outcome` is
    "regressed". "suspected": to be measured again. None where the baseline is too short.
    """

    outcome: Outcome
    baseline_runs: int
    runs: int
    newest: float | None = None
    baseline: float | None = None
    ratio: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    scatter: float | None = None
    scatter_of: ScatterOf = "runs"
    threshold: float | None = None


def compare(
    baseline: Sequence[Run],
    newest: Sequence[Run],
    *,
    nights: int = 1,
    known: Sequence[Run] = (),
    rule: Rule = SUDDEN,
    draws: int = _DRAWS,
) -> Shift:
    """Return how `newest`, runs of so many nights, compares with the last runs of `baseline`.

    `known`: all good runs, oldest first, if they are more than the baseline; they tell the scatter.
    Raises ValueError: a run without samples, or a value that is no positive number.
    """
    _check([*baseline, *newest, *known])
    level = baseline[-MOST_RUNS:]
    if len(level) < LEAST_RUNS or not newest:
        return Shift(outcome="unknown", baseline_runs=len(level), runs=len(newest))
    medians = _medians((known or baseline)[-SCATTER_RUNS:])
    spread = scatter(medians)
    off = _presumed(spread, len(medians)) * math.sqrt(1 / len(level) + 1 / nights)
    return _judged(level, newest, off, rule, (spread, "runs"), draws)


def compare_with_one(
    one: Run,
    newest: Sequence[Run],
    *,
    nights: int = 1,
    known: Sequence[Run] = (),
    rule: Rule = SLOW,
    draws: int = _DRAWS,
) -> Shift:
    """Return how `newest` compares with one run, which has no scatter of its own.

    It is taken from `known`, the good runs of the same kind, by the steps from one to the next: so
    a drift does not hide itself by driving them apart. Of less than three the larger spread of
    samples within a run stands for it. Raises ValueError, as `compare` does.
    """
    _check([one, *newest, *known])
    if not newest:
        return Shift(outcome="unknown", baseline_runs=1, runs=0)
    medians = _medians(known[-SCATTER_RUNS:])
    of: ScatterOf = "runs" if len(medians) >= LEAST_RUNS else "samples"
    spread = _of_steps(medians) if of == "runs" else max(_within(run) for run in [one, *newest])
    off = _presumed(spread, len(medians)) * math.sqrt(1 + 1 / nights)
    return _judged([one], newest, off, rule, (spread, of), draws)


def scatter(medians: Sequence[float]) -> float:
    """Return how far the medians of good runs lie apart, as a share of their middle: by Qn, which
    nearly half of them cannot spoil, and which tells of ten runs what a MAD tells of fifteen.
    """
    return _qn(medians) / statistics.median(medians)


def _of_steps(medians: Sequence[float]) -> float:
    """Return the same from the steps between them: a drift moves all steps alike."""
    steps = [after / before - 1 for before, after in itertools.pairwise(medians)]
    return _qn(steps) / math.sqrt(2)


def _qn(values: Sequence[float]) -> float:
    """Return Qn: about the first quartile of the distances of all pairs."""
    count = len(values)
    half = count // 2 + 1
    distances = sorted(abs(a - b) for a, b in itertools.combinations(values, 2))
    large = count / (count + (1.4 if count % 2 else 3.8))
    return _NORMAL_QN * _SMALL.get(count, large) * distances[half * (half - 1) // 2 - 1]


def _within(run: Run) -> float:
    middle = statistics.median(run)
    return _NORMAL_MAD * statistics.median([abs(v - middle) for v in run]) / middle


def _presumed(spread: float, count: int) -> float:
    """Return the scatter to reckon with when `spread` is that of `count` runs."""
    missing = max(0, MOST_RUNS - count) / MOST_RUNS
    mixed = missing * _PRESUMED_SCATTER**2 + (1 - missing) * spread**2
    return max(spread, math.sqrt(mixed))


def _judged(
    level: Sequence[Run],
    newest: Sequence[Run],
    may_be_off: float,
    rule: Rule,
    spread: tuple[float, ScatterOf],
    draws: int,
) -> Shift:
    """Return the shift, where a good run may be off by a standard deviation of `may_be_off`."""
    middle, before = _upper_middle(_medians(newest)), statistics.median(_medians(level))
    ratio = middle / before
    low, high = _interval(level, newest, may_be_off, draws)
    threshold = max(rule.floor, rule.alarm * may_be_off)
    outcome: Outcome = "better" if ratio > 1 + threshold else "same"
    if len(newest) > 1 and ratio < 1 - threshold and high < 1:
        outcome = "regressed"
    elif ratio < 1 - max(rule.suspicious_floor, rule.suspicion * may_be_off):
        outcome = "suspected"
    return Shift(
        outcome=outcome,
        baseline_runs=len(level),
        runs=len(newest),
        newest=middle,
        baseline=before,
        ratio=ratio,
        ci_low=low,
        ci_high=high,
        scatter=spread[0],
        scatter_of=spread[1],
        threshold=threshold,
    )


def _medians(runs: Sequence[Run]) -> list[float]:
    """Return the median of each run: one with many samples is no more than a run."""
    return [statistics.median(run) for run in runs]


def _upper_middle(medians: Sequence[float]) -> float:
    return statistics.median_high(medians)


def _interval(
    level: Sequence[Run], newest: Sequence[Run], may_be_off: float, draws: int
) -> tuple[float, float]:
    """Return the interval of the ratio: the samples of each run are drawn again (percentile
    bootstrap), and runs move by what they may be off: two of them are too few to draw among.
    """
    rng = random.Random(_SEED)  # noqa: S311 - statistics, no secret
    kept = max(1, draws // _DRAWS_A_RESAMPLE)
    before, now = ([_resampled(run, kept, rng) for run in runs] for runs in (level, newest))
    ratios = sorted(
        _upper_middle([rng.choice(medians) for medians in now])
        / statistics.median([rng.choice(medians) for medians in before])
        * rng.gauss(1, may_be_off)
        for _ in range(draws)
    )
    tail = int((1 - _CONFIDENCE) / 2 * draws)
    return ratios[tail], ratios[-1 - tail]


def _resampled(run: Run, count: int, rng: random.Random) -> list[float]:
    return [statistics.median(rng.choices(run, k=len(run))) for _ in range(count)]


def _check(runs: Sequence[Run]) -> None:
    for run in runs:
        if not run or not all(0 < value < math.inf for value in run):
            raise ValueError(f"{list(run)!r} are no samples of a rate")
