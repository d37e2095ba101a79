"""Verdicts by tables: each row names the rule it defends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.bench.verdict import Check, Measured, Promise, Tolerances, Verdict, judge
from orchestrator.units import GIB


def _memory(estimated: int, measured: int | None, how: str = "VmHWM") -> Verdict:
    return judge(
        Promise(resident_bytes=estimated),
        Measured(resident_bytes=measured, resident_how=how, decode_tps=9.0),
    )


def _check(verdict: Verdict, name: str) -> Check:
    return next(c for c in verdict.checks if c.name == name)


@pytest.mark.parametrize(
    ("estimated", "outcome", "error"),
    [
        pytest.param(1000, "passed", 0.0, id="exact"),
        pytest.param(900, "passed", 0.10, id="ten-percent-still-passes"),
        pytest.param(899, "warned", 0.101, id="beyond-ten-warns"),
        pytest.param(750, "warned", 0.25, id="a-quarter-still-warns"),
        pytest.param(749, "failed", 0.251, id="beyond-a-quarter-fails"),
        pytest.param(1100, "passed", -0.10, id="ten-percent-less-passes"),
        pytest.param(1250, "warned", -0.25, id="a-quarter-less-warns"),
        pytest.param(1251, "failed", -0.251, id="far-less-than-promised-fails-too"),
    ],
)
def test_memory_error_is_signed_and_judged_by_size(
    estimated: int, outcome: str, error: float
) -> None:
    verdict = _memory(estimated, 1000)

    assert verdict.outcome == outcome
    assert _check(verdict, "memory").error == pytest.approx(error)


def test_tolerances_are_the_profiles() -> None:
    promise, measured = Promise(resident_bytes=960), Measured(resident_bytes=1000, decode_tps=9)

    assert judge(promise, measured).outcome == "passed"
    assert judge(promise, measured, Tolerances(memory_pass=0.01)).outcome == "warned"
    strict = Tolerances(memory_pass=0.01, memory_warn=0.02)
    assert judge(promise, measured, strict).outcome == "failed"


def test_memory_that_cannot_be_measured_never_passes_and_says_why() -> None:
    verdict = _memory(1000, None, "no right to read the memory of process 7")

    assert verdict.outcome == "unverified"
    assert "no right" in _check(verdict, "memory").detail


def test_a_promise_without_memory_is_not_verified() -> None:
    assert judge(Promise(decode_tps=9), Measured(decode_tps=9)).outcome == "unverified"


@pytest.mark.parametrize(
    ("rate", "noisy", "outcome", "speed"),
    [
        pytest.param(4.0, False, "passed", "passed", id="the-floor-itself-holds"),
        pytest.param(3.99, False, "failed", "failed", id="clean-and-below-the-floor"),
        pytest.param(3.99, True, "passed", "unverified", id="noise-never-fails-speed"),
        pytest.param(9.0, True, "passed", "unverified", id="noise-never-passes-speed"),
        pytest.param(None, False, "unverified", "unverified", id="no-sample-counts"),
    ],
)
def test_speed(rate: float | None, noisy: bool, outcome: str, speed: str) -> None:
    verdict = judge(
        Promise(resident_bytes=1000, decode_tps=8.0, min_tps=4.0),
        Measured(resident_bytes=1000, decode_tps=rate, noisy=noisy),
    )

    assert verdict.outcome == outcome
    assert _check(verdict, "decode speed").outcome == speed


def test_a_speed_error_is_recorded_and_fails_nothing() -> None:
    verdict = judge(
        Promise(resident_bytes=1000, decode_tps=20.0, min_tps=4.0),
        Measured(resident_bytes=1000, decode_tps=5.0),
    )

    assert verdict.outcome == "passed"
    assert _check(verdict, "decode speed").error == pytest.approx(-3.0)


def test_noise_does_not_hide_memory() -> None:
    verdict = judge(
        Promise(resident_bytes=500, min_tps=4.0),
        Measured(resident_bytes=1000, decode_tps=1.0, noisy=True),
    )

    assert verdict.outcome == "failed"
    assert _check(verdict, "decode speed").detail == "unverified (noise)"


def test_each_device_is_judged_alone() -> None:
    verdict = judge(
        Promise(devices=((0, 10 * GIB), (1, 2 * GIB))),
        Measured(
            devices=((0, 10 * GIB, "NVML"), (1, 4 * GIB, "NVML")), placement=None, decode_tps=30
        ),
    )

    assert verdict.outcome == "failed"
    assert [c.outcome for c in verdict.checks[:2]] == ["passed", "failed"]
    assert "device 1" in verdict.checks[1].name


def test_a_device_without_a_measurement_is_unverified() -> None:
    verdict = judge(
        Promise(devices=((0, GIB),)), Measured(devices_how="NVML: no library", decode_tps=30)
    )

    assert verdict.outcome == "unverified"
    assert verdict.checks[0].detail == "NVML: no library"


@pytest.mark.parametrize(
    ("found", "outcome"),
    [("gpu", "passed"), ("split", "failed"), ("cpu", "failed"), (None, "unverified")],
)
def test_placement_is_as_planned_or_broken(found: str | None, outcome: str) -> None:
    verdict = judge(
        Promise(resident_bytes=1000, placement="gpu"),
        Measured(resident_bytes=1000, placement=found, decode_tps=9),
    )

    assert verdict.outcome == outcome


def test_a_server_that_others_used_decides_nothing() -> None:
    verdict = judge(
        Promise(resident_bytes=100),
        Measured(resident_bytes=1000, decode_tps=9, disturbed="another model was loaded"),
    )

    assert verdict.outcome == "inconclusive"
    assert verdict.to_json()["checks"][-1]["detail"] == "another model was loaded"


@given(st.integers(1, 2**40), st.integers(1, 2**40))
def test_memory_passes_only_near_the_promise(estimated: int, measured: int) -> None:
    verdict = _memory(estimated, measured)

    if verdict.outcome == "passed":
        assert 0.9 * measured - 1 <= estimated <= 1.1 * measured + 1
    assert (verdict.outcome == "failed") == (abs(measured - estimated) > 0.25 * measured)
