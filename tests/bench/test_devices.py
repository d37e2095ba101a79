"""Device memory: the rules by scripted devices, the binding by the real one over a stub."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.bench.devices import DevicePeak, Devices
from orchestrator.units import GIB
from tests.real import nvml

Used = dict[int, int | None]
_RUNNER, _OTHER, _THIRD = 100, 7, 8


class Scripted:
    """A device that shows one step after the other, the last one for ever."""

    index = 0

    def __init__(self, steps: list[tuple[Used, int | None]]) -> None:
        self._steps = steps
        self._at = 0

    def used_by_pid(self) -> Used:
        step = self._steps[min(self._at, len(self._steps) - 1)][0]
        self._at += 1
        return step

    def free_bytes(self) -> int | None:
        return self._steps[min(self._at, len(self._steps) - 1)][1]


def _peak(steps: list[tuple[Used, int | None]], pids: tuple[int, ...] = (_RUNNER,)) -> DevicePeak:
    devices = Devices([Scripted(steps)])
    for _ in steps[1:]:
        devices.sample(pids)
    (peak,) = devices.peaks()
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
        pytest.param([({}, None), ({}, None)], None, "no memory", id="unified-memory"),
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


def test_runners_of_one_model_add_up_on_a_device() -> None:
    assert _peak([({}, 24), ({_RUNNER: 5, 101: 2}, 17)], (_RUNNER, 101)).bytes == 7


_OPEN = """
import json
from orchestrator.bench.devices import open_nvml
devices, why = open_nvml()
print(json.dumps([[[d.index, d.free_bytes(), len(d.used_by_pid())] for d in devices], why]))
"""


@pytest.mark.parametrize(
    ("box", "indexes", "why"),
    [
        ("rtx3090x2", [0, 1], None),
        ("no_gpus", [], "no device"),
        ("driver_not_loaded", [], "Driver"),
        ("lost_after_handle", [1], None),
    ],
)
def test_the_real_binding(tmp_path: Path, box: str, indexes: list[int], why: str | None) -> None:
    environment = nvml.environment(nvml.build(tmp_path), box, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _OPEN], env=environment, capture_output=True, text=True, check=True
    )

    devices, reason = json.loads(done.stdout)

    assert [index for index, _, _ in devices] == indexes
    assert all(free > GIB for _, free, _ in devices)
    assert (reason is None) if why is None else (why.lower() in reason.lower())
