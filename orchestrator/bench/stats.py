"""Robust statistics of few samples: what was seen, how much it scatters, how sure the median is.

Pure.
"""

import math
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Makes the median absolute deviation estimate the standard deviation of normal samples.
_NORMAL_MAD = 1.4826
_DRAWS = 2000
_SEED = 20_231_128  # fixed: the same samples always give the same interval
_CONFIDENCE = 0.95
_MIN_FOR_INTERVAL = 3
_BEYOND = 10  # samples beyond a percentile that make it more than the luck of the largest few


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One metric over the samples that count. Everything but the counts is in `unit`.

    `spread` is 1.4826 x the median absolute deviation. `ci_low` and `ci_high` bound the median
    with 95 % confidence; None below three samples, where a bootstrap knows nothing. `rejected`
    counts samples that were taken and do not count.
    """

    median: float
    spread: float
    ci_low: float | None
    ci_high: float | None
    min: float
    max: float
    n: int
    rejected: int
    unit: str

    def to_json(self) -> dict[str, Any]:
        """Return the metric as the bench document carries it."""
        return asdict(self)


def summarize(
    rounds: Iterable[Sequence[float]], *, unit: str, rejected: int = 0, draws: int = _DRAWS
) -> Summary | None:
    """Return the summary of samples grouped by the round that took them; None without samples.

    The interval resamples whole rounds: what disturbs a box outlasts one sample, so samples of one
    round are not independent. Raises ValueError: a sample is not a finite number.
    """
    grouped = [tuple(r) for r in rounds if r]
    values = [v for r in grouped for v in r]
    if not values:
        return None
    if not all(abs(v) < float("inf") for v in values):
        raise ValueError(f"not all of {values!r} are finite")
    middle = statistics.median(values)
    low, high = _interval(grouped, draws) if len(values) >= _MIN_FOR_INTERVAL else (None, None)
    return Summary(
        median=middle,
        spread=_NORMAL_MAD * statistics.median([abs(v - middle) for v in values]),
        ci_low=low,
        ci_high=high,
        min=min(values),
        max=max(values),
        n=len(values),
        rejected=rejected,
        unit=unit,
    )


def percentile(values: Sequence[float], p: float) -> float | None:
    """Return the value that a share `p` of the values does not exceed (nearest rank).

    None with less than 10 / (1 - p) values: 100 for the 90th percentile, 1000 for the 99th.
    Raises ValueError: p is not within 0 and 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"{p!r} is no share between 0 and 1")
    if round(len(values) * (1 - p), 9) < _BEYOND:
        return None
    return sorted(values)[math.ceil(round(len(values) * p, 9)) - 1]


def _interval(rounds: Sequence[tuple[float, ...]], draws: int) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the median, resampled by round."""
    rng = random.Random(_SEED)  # noqa: S311 - statistics, no secret
    medians = sorted(
        statistics.median([v for r in rng.choices(rounds, k=len(rounds)) for v in r])
        for _ in range(draws)
    )
    tail = (1 - _CONFIDENCE) / 2
    return medians[int(tail * draws)], medians[min(draws - 1, int((1 - tail) * draws))]
