"""Statistics by tables and laws."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.bench.stats import Summary, summarize

values = st.floats(0.01, 1e6, allow_nan=False)
rounds = st.lists(st.lists(values, min_size=1, max_size=3), min_size=1, max_size=8)


def _one_a_round(samples: list[float]) -> Summary:
    summary = summarize([[s] for s in samples], unit="tokens/s")
    assert summary is not None
    return summary


@pytest.mark.parametrize(
    ("samples", "median", "spread"),
    [
        pytest.param([3.0], 3.0, 0.0, id="one"),
        pytest.param([1.0, 3.0], 2.0, 1.4826, id="two-have-a-middle"),
        pytest.param([10.0, 11.0, 12.0], 11.0, 1.4826, id="mad-of-neighbours"),
        pytest.param([10.0, 11.0, 12.0, 11.0, 0.1], 11.0, 1.4826, id="an-outlier-moves-neither"),
        pytest.param([5.0, 5.0, 5.0, 9.0], 5.0, 0.0, id="most-are-equal"),
    ],
)
def test_median_and_spread(samples: list[float], median: float, spread: float) -> None:
    summary = _one_a_round(samples)

    assert summary.median == median
    assert summary.spread == pytest.approx(spread)
    assert (summary.min, summary.max, summary.n) == (min(samples), max(samples), len(samples))


def test_nothing_has_no_summary() -> None:
    assert summarize([], unit="s") is None
    assert summarize([[], []], unit="s") is None


def test_two_samples_have_no_interval() -> None:
    assert _one_a_round([1.0, 2.0]).ci_low is None
    assert _one_a_round([1.0, 2.0]).ci_high is None


@settings(deadline=None)  # other tests may hold the processors
@given(rounds)
def test_the_interval_holds_the_median_and_stays_among_the_samples(
    grouped: list[list[float]],
) -> None:
    summary = summarize(grouped, unit="s", draws=200)

    assert summary is not None
    assert summary.n == sum(map(len, grouped))
    if summary.ci_low is not None and summary.ci_high is not None:
        assert summary.min <= summary.ci_low <= summary.ci_high <= summary.max


@settings(deadline=None)  # other tests may hold the processors
@given(st.lists(values, min_size=3, max_size=8), st.floats(0.5, 20))
def test_another_unit_scales_everything(samples: list[float], factor: float) -> None:
    one, other = _one_a_round(samples), _one_a_round([s * factor for s in samples])

    assert other.median == pytest.approx(one.median * factor)
    assert other.spread == pytest.approx(one.spread * factor, abs=1e-9 * one.max * factor)
    assert (one.ci_high, other.ci_high) != (None, None)
    assert other.ci_high == pytest.approx((one.ci_high or 0) * factor)


def test_the_same_samples_give_the_same_interval() -> None:
    samples = [9.0, 10.0, 11.0, 10.5, 9.5, 10.2]

    assert _one_a_round(samples) == _one_a_round(samples)


def test_rounds_are_resampled_whole() -> None:
    # Two rounds that differ, each with many equal samples: over samples the interval would be
    # narrow in neither case, but over rounds one of the two may be missing altogether.
    grouped = [[10.0] * 9, [20.0] * 10]
    by_round = summarize(grouped, unit="s")
    by_sample = summarize([[v] for r in grouped for v in r], unit="s")
    alike = [[10.0, 20.0, 15.0]] * 6

    assert by_round is not None
    assert by_sample is not None
    assert (by_round.ci_low, by_round.ci_high) == (10.0, 20.0)
    within = summarize(alike, unit="s")
    assert within is not None
    assert (within.ci_low, within.ci_high) == (15.0, 15.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(5)
    covered = 0
    for _ in range(200):
        found = summarize([[rng.gauss(50, 5)] for _ in range(12)], unit="s", draws=400)
        assert found is not None
        assert found.ci_low is not None
        assert found.ci_high is not None
        covered += found.ci_low <= 50 <= found.ci_high
    assert 0.88 <= covered / 200 <= 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        summarize([[1.0, bad]], unit="s")
