"""Good nights raise no alarm; a loss that matters is found on the second night at the latest."""

import math
import random
import statistics
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.bench.regression import (
    LEAST_RUNS,
    ONE,
    SCATTER_RUNS,
    SUDDEN,
    Run,
    Shift,
    compare,
    compare_with_one,
    scatter,
)

FEW_DRAWS = 40
rates = st.floats(1, 1000)
runs = st.lists(rates, min_size=3, max_size=8)
WORST_FIRST = ["regressed", "suspected", "same", "better", "unknown"]


class Box:
    """A box whose rates (decode and prefill) are measured every night. Shares of their speed: runs
    lie `between` apart, half of the variance being that of the night; a drift of 0.5 % comes and
    goes within weeks, for each rate its own; samples of a run lie 1 % apart. 3 % of the runs are
    spoilt: all their rates lose 10 to 40 %.
    """

    def __init__(self, seed: int, between: float, *, rates: int = 2) -> None:
        self._rng = random.Random(seed)
        self._each = between * math.sqrt(0.5)
        self._drifted = [self._rng.gauss(0, 0.005) for _ in range(rates)]
        self._tonight = [0.0] * rates

    def next_night(self) -> None:
        kept, rng = 0.95, self._rng
        new = 0.005 * math.sqrt(1 - kept**2)
        self._drifted = [kept * drifted + rng.gauss(0, new) for drifted in self._drifted]
        self._tonight = [1 + drifted + rng.gauss(0, self._each) for drifted in self._drifted]

    def measured(self, loss: float) -> list[Run]:
        """Return one run of each rate."""
        rng = self._rng
        spoilt = rng.uniform(0.6, 0.9) if rng.random() < 0.03 else 1.0
        middles = [
            spoilt * (1 - loss) * (each + rng.gauss(0, self._each)) for each in self._tonight
        ]
        return [[40 * middle * rng.gauss(1, 0.01) for _ in range(5)] for middle in middles]


class Nights:
    """What is kept of the nightly measurements of a box, and how a night is judged."""

    def __init__(self, box: Box, *, pinned_after: int | None = None) -> None:
        self._box = box
        self._good: list[list[Run]] = []
        self._left_open: list[list[Run]] = []
        self._pinned: list[Run] | None = None
        self._pinned_after = pinned_after

    def night(self, loss: float = 0.0) -> str:
        self._box.next_night()
        tonight = [self._box.measured(loss)]
        found = self._judged(tonight)
        if found in ("suspected", "regressed"):  # at once again
            tonight.append(self._box.measured(loss))
            found = self._judged(tonight)
        if found in ("same", "better"):
            self._good += self._left_open
        self._left_open = tonight[-1:] if found == "suspected" else []
        if found not in ("suspected", "regressed"):
            self._good += tonight
        if self._pinned is None and self._pinned_after == len(self._good):
            self._pinned = self._good[-1]
        return found

    def _judged(self, tonight: list[list[Run]]) -> str:
        together, nights = [*self._left_open, *tonight], 1 + len(self._left_open)
        found = []
        for rate, newest in enumerate(zip(*together, strict=True)):
            known = [measured[rate] for measured in self._good[-SCATTER_RUNS:]]
            found.append(compare(known, newest, nights=nights, draws=FEW_DRAWS))
            if self._pinned:
                one = self._pinned[rate]
                found.append(
                    compare_with_one(one, newest, nights=nights, known=known, draws=FEW_DRAWS)
                )
        return min((shift.outcome for shift in found), key=WORST_FIRST.index)


def _alarms(seed: int, between: float) -> int:
    """Return how many of 200 nights without any change raise an alarm."""
    nights = Nights(Box(seed, between), pinned_after=12)
    return [nights.night() for _ in range(200)].count("regressed")


def _found(seed: int, between: float, *, quiet_nights: int = 30, rates: int = 2) -> bool:
    """Return whether a loss of 8 % is found on one of the first two nights."""
    nights = Nights(Box(seed, between, rates=rates))
    for _ in range(quiet_nights):
        nights.night()
    return "regressed" in (nights.night(0.08), nights.night(0.08))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("between", [0.005, 0.01, 0.02, 0.03, 0.06])
def test_two_hundred_good_nights_raise_two_alarms_at_most(between: float, seed: int) -> None:
    # For these seeds: from 2 % on some others have more (see the docstring of `regression`).
    assert _alarms(seed, between) <= 2


def test_a_box_whose_runs_lie_apart_raises_about_one_alarm_in_two_hundred_nights() -> None:
    alarms = [_alarms(seed, 0.03) for seed in range(100, 115)]

    assert statistics.mean(alarms) < 1.5


@pytest.mark.parametrize(("between", "found_of_50"), [(0.01, 50), (0.015, 49), (0.02, 47)])
def test_a_loss_of_8_percent_is_found_on_the_second_night(between: float, found_of_50: int) -> None:
    assert sum(_found(seed, between) for seed in range(50)) >= found_of_50


def test_an_immediate_second_run_confirms_a_loss() -> None:
    good = [[40.0, 40.2, 39.8], [40.4, 40.5, 40.3], [39.7, 39.6, 39.8]] * 4

    assert compare(good, [[36.5, 36.8, 36.6]]).outcome == "suspected"
    assert compare(good, [[36.5, 36.8, 36.6], [36.7, 36.6, 36.9]]).outcome == "regressed"


def test_one_bad_run_of_two_is_no_regression_however_bad_it_is() -> None:
    good = [[40.0, 40.1, 39.9]] * 10

    for once in ([[10.0] * 5, [39.7] * 5], [[39.7] * 5, [10.0] * 5]):
        assert compare(good, once).outcome == "same"


def test_runs_whose_samples_tell_nothing_are_no_regression() -> None:
    good = [[40.0, 40.1, 39.9]] * 10
    wild = [20.0, 60.0, 36.0, 20.0, 60.0]

    assert compare(good, [wild, wild]).outcome == "suspected"
    assert compare(good, [[36.0] * 5] * 2).outcome == "regressed"


def test_two_nights_tell_more_than_two_runs_of_one_night() -> None:
    apart = [[40.0 * f] * 3 for f in (0.97, 1.03, 0.96, 1.04, 1.0, 0.98, 1.02, 0.97, 1.03, 1.0)]
    newest = [[36.6] * 3, [36.6] * 3]

    assert compare(apart, newest, nights=1).outcome == "suspected"
    assert compare(apart, newest, nights=2).outcome == "regressed"


def _creeping(scatter_of_runs: float, *, pinned: bool, a_night: float) -> int | None:
    """Return the night in which a loss that creeps in is found; None: not within 60."""
    nights = Nights(Box(3, scatter_of_runs), pinned_after=20 if pinned else None)
    for _ in range(40):
        nights.night()
    for night in range(60):
        if nights.night(a_night * night) == "regressed":
            return night
    return None


@pytest.mark.parametrize("between", [0.01, 0.02])
def test_a_slow_drift_along_which_the_baseline_creeps_is_found_against_the_pin(
    between: float,
) -> None:
    night = _creeping(between, pinned=True, a_night=0.01)

    assert night is not None
    assert night <= 15


def test_a_drift_of_half_a_percent_a_night_shows_against_the_pin_alone() -> None:
    assert _creeping(0.015, pinned=False, a_night=0.004) is None
    assert _creeping(0.015, pinned=True, a_night=0.004) is not None


def test_one_run_alone_is_suspected_and_never_a_regression() -> None:
    good = [[40.0, 40.1, 39.9]] * 10

    assert compare(good, [[10.0] * 5]).outcome == "suspected"
    assert compare_with_one(good[0], [[10.0] * 5], known=good).outcome == "suspected"


@pytest.mark.parametrize("count", range(LEAST_RUNS))
def test_a_short_baseline_tells_nothing(count: int) -> None:
    found = compare([[40.0] * 3] * count, [[10.0] * 3] * 2)

    assert (found.outcome, found.ratio, found.baseline_runs) == ("unknown", None, count)


def test_three_runs_that_agree_by_chance_do_not_make_a_loss_of_a_good_night() -> None:
    newest = [[37.5] * 5] * 2

    assert compare([[40.0] * 5] * 3, newest).outcome != "regressed"
    assert compare([[40.0] * 5] * 10, newest).outcome == "regressed"


def test_a_loss_below_the_floor_is_none_however_sure_it_is() -> None:
    still = compare([[40.0] * 9] * 10, [[39.0] * 9] * 4)

    assert still.ratio == pytest.approx(0.975)
    assert still.outcome == "same"


def test_a_box_whose_runs_lie_apart_needs_a_larger_loss() -> None:
    apart = [[40.0 * f] * 5 for f in (0.9, 1.1, 0.95, 1.05, 1.0)] * 2

    assert compare(apart, [[36.0] * 5] * 2).outcome == "same"
    assert compare([[40.0] * 5] * 10, [[36.0] * 5] * 2).outcome == "regressed"


def test_old_runs_tell_the_scatter_and_not_the_level() -> None:
    before, since = [[80.0] * 3] * 20, [[40.0] * 3] * 10

    assert compare([*before, *since], [[40.0] * 3]).ratio == 1.0
    calm, wild = [[40.0] * 3] * 10, [[30.0 + n] * 3 for n in range(20)]
    assert compare(calm, [[40.0] * 3], known=calm).scatter == 0
    assert (compare(calm, [[40.0] * 3], known=[*wild, *calm]).scatter or 0) > 0


def test_without_three_known_runs_samples_tell_how_far_one_run_may_be_off() -> None:
    one, newest = [40.0, 40.4, 39.6], [[30.0, 33.0, 27.0]] * 2

    alone = compare_with_one(one, newest, known=[one])
    among = compare_with_one(one, newest, known=[one] * LEAST_RUNS)

    assert (alone.scatter_of, among.scatter_of) == ("samples", "runs")
    assert alone.scatter == pytest.approx(1.4826 * 3 / 30)  # the larger of the two
    assert among.scatter == 0


def test_a_drift_does_not_hide_itself_by_driving_the_runs_apart() -> None:
    sliding = [[40.0 * 0.99**n] * 3 for n in range(20)]

    assert compare_with_one(sliding[0], [sliding[-1]] * 2, known=sliding).outcome == "regressed"
    assert compare(sliding, [sliding[-1]] * 2).outcome == "same"


def test_a_run_that_somebody_names_is_held_to_a_lower_floor_than_a_pin() -> None:
    known = [[40.0] * 3] * 20

    assert compare_with_one(known[0], [[37.2] * 3] * 2, known=known).outcome == "same"
    found = compare_with_one(known[0], [[37.2] * 3] * 2, known=known, rule=ONE)
    assert (found.outcome, found.threshold) == ("regressed", SUDDEN.floor)


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0], [float("nan")], [float("inf")]])
def test_what_is_no_rate_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="no samples"):
        compare([[1.0]] * 3, [bad])
    with pytest.raises(ValueError, match="no samples"):
        compare_with_one(bad, [[1.0]])


def _both(known: list[Run], new: Run) -> list[Shift]:
    newest = [new, new]
    return [
        compare(known, newest, draws=FEW_DRAWS),
        compare_with_one(known[0], newest, known=known, draws=FEW_DRAWS),
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(runs, min_size=3, max_size=6), runs, st.floats(0.01, 100))
def test_another_unit_is_the_same_finding(known: list[Run], new: Run, factor: float) -> None:
    scaled = _both([[v * factor for v in run] for run in known], [v * factor for v in new])

    for one, other in zip(_both(known, new), scaled, strict=True):
        assert one.outcome == other.outcome
        assert one.ratio == pytest.approx(other.ratio)


@settings(max_examples=40, deadline=None)
@given(st.lists(runs, min_size=3, max_size=6), runs, st.floats(0.3, 1.0))
def test_slower_is_never_judged_better(known: list[Run], new: Run, factor: float) -> None:
    slower = compare(known, [[v * factor for v in new]] * 2, draws=FEW_DRAWS)
    faster = compare(known, [new, new], draws=FEW_DRAWS)

    assert WORST_FIRST.index(slower.outcome) <= WORST_FIRST.index(faster.outcome)


@settings(max_examples=40, deadline=None)
@given(st.lists(runs, min_size=3, max_size=6), runs, st.randoms())
def test_the_order_of_samples_and_of_good_runs_moves_no_ratio(
    known: list[Run], new: Run, rng: random.Random
) -> None:
    mixed = [rng.sample(list(run), len(run)) for run in rng.sample(known, len(known))]
    one, other = compare(known, [new], draws=1), compare(mixed, [new], draws=1)

    assert (one.ratio, one.threshold) == (other.ratio, other.threshold)


def test_scatter_estimates_the_deviation_of_few_runs() -> None:
    rng = random.Random(7)
    for count in (3, 5, 10, 30):
        found = [scatter([rng.gauss(100, 2) for _ in range(count)]) for _ in range(1500)]
        assert statistics.mean(found) == pytest.approx(0.02, rel=0.06)


def test_the_scatter_by_steps_estimates_the_same_deviation() -> None:
    rng = random.Random(7)
    found = []
    for _ in range(500):
        known = [[rng.gauss(100, 2)] for _ in range(SCATTER_RUNS)]
        found.append(compare_with_one(known[0], known[-1:], known=known, draws=1).scatter or 0)

    assert statistics.mean(found) == pytest.approx(0.02, rel=0.06)


def _against_ten(known: Sequence[Run], new: Sequence[Run]) -> Shift:
    return compare(known, new, draws=200)


def _against_one(known: Sequence[Run], new: Sequence[Run]) -> Shift:
    return compare_with_one(known[0], new, known=known, draws=200)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("judge", [_against_ten, _against_one])
def test_the_interval_holds_the_true_ratio_as_often_as_it_says(
    judge: Callable[[Sequence[Run], Sequence[Run]], Shift], count: int
) -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(150):
        known, new = (
            [[40 * f * middle * rng.gauss(1, 0.02) for _ in range(8)] for middle in middles]
            for f, middles in (
                (1.0, [rng.gauss(1, 0.02) for _ in range(10)]),
                (0.95, [rng.gauss(1, 0.02) for _ in range(count)]),
            )
        )
        found = judge(known, new)
        held += (found.ci_low or 0) <= 0.95 <= (found.ci_high or 0)
    # Of 95 in 100: how far runs lie apart is itself only known from ten of them.
    assert 0.88 <= held / 150 <= 1.0
