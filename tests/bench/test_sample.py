"""Which samples count: each row names the rule it defends."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.bench.device_state import DeviceState
from orchestrator.bench.sample import Sample, clocks_disagree, grade
from tests.bench.samples import sample


def _graded(*samples: Sample, exact: bool = True) -> list[str]:
    return [s.outcome for s in grade(samples, exact=exact, num_ctx=4096)]


def test_the_first_token_belongs_to_prefill() -> None:
    assert sample(tokens=21, decode_s=2.0).decode_tps == 10
    assert sample(tokens=1, decode_s=0.1).decode_tps is None
    assert sample().prefill_tps == 100


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        pytest.param({}, "ok", id="sound"),
        pytest.param({"reason": "stop"}, "short", id="ended-by-itself"),
        pytest.param({"tokens": 20}, "short", id="one-token-missing"),
        pytest.param({"reason": "", "tokens": None}, "short", id="no-result-at-all"),
        pytest.param({"reason": "stop", "outcome": "retried"}, "retried", id="tried-again"),
        pytest.param({"prompt_tokens": 99, "prefill_s": 1.0}, "miscounted", id="one-too-few"),
        pytest.param({"prompt_tokens": 101, "prefill_s": 1.0}, "miscounted", id="one-too-many"),
        pytest.param({"prefill_s": 0.32}, "cached", id="more-than-three-times-as-fast"),
        pytest.param({"prefill_s": 0.34}, "ok", id="three-times-as-fast-may-be"),
        pytest.param({"prefill_s": 30.0}, "ok", id="slow-is-not-cached"),
        pytest.param({"prompt_tokens": None, "prefill_s": None}, "cached", id="no-count-means-hit"),
        pytest.param({"warmup": True}, "warmup", id="warm-up"),
        pytest.param({"foreign_cpu": 0.9}, "ok", id="noise-is-kept"),
    ],
)
def test_outcomes(changes: dict[str, Any], outcome: str) -> None:
    others = [sample(), sample(), sample()]

    assert _graded(*others, sample(**changes)) == ["ok", "ok", "ok", outcome]


def test_one_cached_sample_does_not_vouch_for_itself() -> None:
    assert _graded(sample(warmup=True), sample(prefill_s=0.01)) == ["warmup", "cached"]
    assert _graded(sample(), sample(prefill_s=0.01)) == ["ok", "cached"]


def test_a_slow_warm_up_does_not_make_the_others_look_cached() -> None:
    slow = sample(warmup=True, prefill_s=20.0)

    assert _graded(slow, sample(), sample(), sample())[1:] == ["ok", "ok", "ok"]


def test_a_bad_spell_over_half_of_them_leaves_the_sound_half() -> None:
    slow = sample(prefill_s=20.0)

    assert _graded(slow, slow, sample(), sample()) == ["ok"] * 4
    assert _graded(slow, sample()) == ["ok", "ok"]


def test_short_prompts_are_no_measure_for_long_ones() -> None:
    few = [sample(prompt_tokens=10, prefill_s=1.0, warmup=True)] * 3

    assert _graded(*few, sample(), sample())[3:] == ["ok", "ok"]


def test_without_calibration_the_length_may_differ_but_must_fit() -> None:
    assert _graded(sample(prompt_tokens=93), sample(), exact=False) == ["ok", "ok"]
    cut = sample(prompt_tokens=4090, prefill_s=40.9)
    assert _graded(cut, sample(), exact=False) == ["miscounted", "ok"]


@pytest.mark.parametrize(
    ("foreign", "steal", "noisy"),
    [
        (0.0999, 0.0, False),
        (0.10, 0.0, True),
        (0.0, 0.10, True),
        (None, None, False),
        (None, 0.2, True),
    ],
)
def test_noise_is_marked_from_ten_percent(
    foreign: float | None, steal: float | None, noisy: bool
) -> None:
    marked = sample(foreign_cpu=foreign, steal=steal)

    assert marked.noisy is noisy
    assert marked.to_json()["noisy"] is noisy


def test_two_clocks_are_compared() -> None:
    assert sample(stream_s=2.0).clock_gap == pytest.approx(0.0)
    assert sample(stream_s=4.0).clock_gap == pytest.approx(-0.5)
    assert not clocks_disagree([sample(stream_s=2.05)] * 3)
    assert clocks_disagree([sample(stream_s=2.2)] * 3)
    assert not clocks_disagree([])


@given(st.lists(st.floats(0.5, 1.4), min_size=2, max_size=9), st.floats(0.001, 0.1))
def test_sound_samples_count_and_a_repeated_prompt_never_does(
    durations: list[float], hit: float
) -> None:
    sound = [sample(prefill_s=d) for d in durations]

    assert set(_graded(*sound)) == {"ok"}
    assert _graded(*sound, sample(prefill_s=hit))[-1] == "cached"


def test_a_shape_that_long_prompts_are_slower_than_is_judged_by_its_own() -> None:
    deep = [sample(want_prompt_tokens=4000, prompt_tokens=4000, prefill_s=200.0)] * 3  # 20 a second
    sound = [sample(prefill_s=1.0)] * 3  # 100 a second: that is what a deep cache costs

    assert _graded(*deep, *sound) == ["ok"] * 6
    assert _graded(*deep, *sound, sample(prefill_s=0.01))[-1] == "cached"
    assert _graded(*deep, *sound[:1], sample(prefill_s=0.01))[-1] == "cached"


def test_a_device_that_heat_slows_down_makes_a_sample_noisy() -> None:
    state = DeviceState(
        index=0,
        sm_clock_mhz=900,
        memory_clock_mhz=None,
        temperature_c=92,
        power_limit_w=None,
        throttle=("hw_thermal_slowdown",),
        foreign_processes=0,
        foreign_utilization=None,
    )
    assert sample(devices=(state,)).noisy
    assert not sample(devices=(replace(state, throttle=()),)).noisy
    assert sample(devices=(state,)).to_json()["devices"][0]["temperature_c"] == 92
