"""The rules by which what devices show becomes a peak; the driver itself is in test_nvml.py."""

from collections.abc import Collection, Mapping

import pytest

from orchestrator.bench.device_state import DeviceState
from orchestrator.bench.devices import DevicePeak, Devices, Look
from orchestrator.units import GIB

Used = dict[int, int | None]
_RUNNER, _OTHER, _THIRD = 100, 7, 8


class Scripted:
    """A device that shows one step after the other."""

    def __init__(self, steps: list[tuple[Used, int | None]]) -> None:
        self._steps = steps
        self.at = 0
        self.why: str | None = None

    def memory(self) -> Mapping[int, Look]:
        used, free = self._steps[self.at]
        return {0: Look(free_bytes=free, used_by_pid=used)}

    def states(self, runners: Collection[int]) -> tuple[DeviceState, ...]:
        del runners
        return ()

    def close(self) -> None:
        pass


def _watched(steps: list[tuple[Used, int | None]]) -> tuple[Devices, Scripted]:
    scripted = Scripted(steps)
    devices = Devices(scripted)
    for scripted.at in range(1, len(steps)):
        devices.sample()
    return devices, scripted


def _peak(steps: list[tuple[Used, int | None]], pids: tuple[int, ...] = (_RUNNER,)) -> DevicePeak:
    (peak,) = _watched(steps)[0].peaks(pids)
    return peak


@pytest.mark.parametrize(
    ("steps", "expected", "how"),
    [
        pytest.param(
            [({}, 24), ({_RUNNER: 5}, 19), ({_RUNNER: 9}, 15), ({_RUNNER: 6}, 18)],
            9,
            "per process",
            id="the-peak-not-the-last",
        ),
        pytest.param(
            [({_OTHER: 3}, 21), ({_OTHER: 8, _RUNNER: 5}, 11)],
            5,
            "per process",
            id="others-are-not-counted",
        ),
        pytest.param([({}, 24), ({_RUNNER: None}, 19)], 5, "drop", id="wsl-names-the-process-only"),
        pytest.param([({}, 24), ({4242: 5}, 19)], 5, "drop", id="a-container-sees-another-number"),
        pytest.param([({}, 24), ({}, 20), ({}, 23)], 4, "drop", id="nothing-listed"),
        pytest.param(
            [({}, 24), ({4242: 5, _THIRD: 1}, 18)], None, "came or went", id="somebody-came"
        ),
        pytest.param(
            [({}, 24), ({_RUNNER: None, _THIRD: 1}, 18)],
            None,
            "came or went",
            id="somebody-came-beside-the-known-runner",
        ),
        pytest.param(
            [({_OTHER: None}, 20), ({4242: None}, 19)], None, "came or went", id="somebody-went"
        ),
        pytest.param(
            [({_OTHER: 3}, 21), ({_OTHER: 3, _RUNNER: None}, 16)],
            5,
            "drop",
            id="a-runner-whose-bytes-are-not-told-is-no-stranger",
        ),
    ],
)
def test_peaks(steps: list[tuple[Used, int | None]], expected: int | None, how: str) -> None:
    scaled = [
        (
            {p: None if b is None else b * GIB for p, b in used.items()},
            None if free is None else free * GIB,
        )
        for used, free in steps
    ]

    peak = _peak(scaled)

    assert peak.bytes == (None if expected is None else expected * GIB)
    assert how in peak.how


def test_two_runners_of_one_model_mean_a_reload_and_never_add_up() -> None:
    assert _peak([({}, 24), ({_RUNNER: 5}, 19), ({101: 7}, 17)], (_RUNNER, 101)).bytes == 7


def test_what_a_failed_load_took_does_not_count() -> None:
    devices, scripted = _watched([({}, 24), ({}, 4), ({}, 19)])
    devices.begin_again()
    devices.sample()

    assert [peak.bytes for peak in devices.peaks((_RUNNER,))] == [5]
    assert scripted.at == 2


def test_the_base_line_waits_until_the_memory_of_the_last_model_is_back() -> None:
    class Settling(Scripted):
        def memory(self) -> Mapping[int, Look]:
            found = super().memory()
            self.at = min(self.at + 1, 2)
            return found

    settling = Settling([({_OTHER: 9}, 15 * GIB), ({}, 20 * GIB), ({}, 24 * GIB), ({}, 19 * GIB)])
    devices = Devices(settling)
    settling.at = 3
    devices.sample()

    assert [peak.bytes for peak in devices.peaks((_RUNNER,))] == [5 * GIB]


def test_a_device_without_memory_of_its_own_is_not_watched() -> None:
    devices, _ = _watched([({}, None), ({}, None)])

    assert devices.peaks(()) == ()
    assert "no memory" in devices.how


def test_a_driver_that_fell_silent_gives_no_peak_but_the_reason() -> None:
    devices, scripted = _watched([({}, 24), ({_RUNNER: 5}, 19)])
    scripted.why = "the driver did not answer within 3 s"

    assert [(p.bytes, p.how) for p in devices.peaks((_RUNNER,))] == [(None, scripted.why)]
    assert devices.how == scripted.why
