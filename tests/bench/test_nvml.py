"""NVML through the real binding, in the child process that the bench starts, over a stub."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.bench import nvml as bench_nvml
from orchestrator.bench.device_state import DeviceState, disturbed
from orchestrator.bench.devices import Devices
from orchestrator.bench.nvml import NvmlChild
from orchestrator.probe import nvidia
from orchestrator.units import GIB, MIB
from tests.real import nvml

Describe = Callable[[dict[str, Any]], Path]
_RUNNER, _OTHER = 100, 7
_BUSY: dict[str, Any] = {
    "name": "NVIDIA GeForce RTX 3060",
    "total_mib": 12288,
    "used_mib": 1024,
    "sm_mhz": 1777,
    "mem_mhz": 7501,
    "temperature": 64,
    "power_mw": 170_500,
    "reasons": 0x01 | 0x04 | 0x40,
    "processes": [
        {"pid": _RUNNER, "used_mib": 900, "sm_util": 55},
        {"pid": _OTHER, "used_mib": 100, "sm_util": 30},
    ],
}


@pytest.fixture
def describe(stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Describe:
    """Make this the box of whatever process starts now, or replace the one that is being read."""
    path = tmp_path / "box.nvml"
    monkeypatch.setenv("LD_LIBRARY_PATH", str(stub))
    monkeypatch.setenv("NVML_STUB", str(path))

    def box(scenario: dict[str, Any]) -> Path:
        nvml.describe(scenario, path)
        return path

    return box


@pytest.fixture
def child(describe: Describe) -> Iterator[Callable[[dict[str, Any]], NvmlChild]]:
    opened: list[NvmlChild] = []

    def on(scenario: dict[str, Any]) -> NvmlChild:
        describe(scenario)
        opened.append(NvmlChild(answer_s=0.5))
        return opened[-1]

    yield on
    for each in opened:
        each.close()


Child = Callable[[dict[str, Any]], NvmlChild]


@pytest.mark.parametrize(
    ("box", "watched", "why"),
    [
        ("rtx3090x2", [0, 1], "NVML"),
        ("no_gpus", [], "no device"),
        ("driver_not_loaded", [], "Driver"),
        ("lost_after_handle", [1], "NVML"),
        ("one_lost", [0, 1, 2, 3, 4, 6, 7], "NVML"),
        ("gb10", [], "no memory"),
        # The GPU itself is no device that a process could be given, so its slices follow it.
        ("h100_mig", [1, 2], "NVML"),
    ],
)
def test_the_devices_of_a_box(child: Child, box: str, watched: list[int], why: str) -> None:
    reader = child(nvml.SCENARIOS[box])
    devices = Devices(reader)

    assert [peak.index for peak in devices.peaks(())] == watched
    assert why.lower() in devices.how.lower()


def test_the_devices_have_the_indexes_that_the_probe_gives_them(
    child: Child, stub: Path, tmp_path: Path
) -> None:
    probed = nvml.read_here(stub, "h100_mig", tmp_path)
    assert not isinstance(probed, str)
    slices = {a["index"]: a["memory_total_bytes"] for a in probed if "MIG" in a["name"]}
    looks = child(nvml.SCENARIOS["h100_mig"]).memory()

    assert {index: look.free_bytes for index, look in looks.items()} == slices


def test_libraries_are_looked_for_where_the_probe_looks() -> None:
    assert bench_nvml.LIBRARIES == nvidia.LIBRARIES


def test_a_box_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_nvml, "LIBRARIES", ("/usr/lib/none/libnvidia-ml.so.1",))
    reader = NvmlChild()

    assert reader.memory() == {}
    assert "no NVIDIA driver" in (reader.why or "")


def test_a_process_in_both_lists_counts_once_and_bytes_may_be_unknown(child: Child) -> None:
    busy = child(nvml.SCENARIOS["rtx3060_busy"]).memory()[0]
    windows = child(nvml.SCENARIOS["wsl2_4070"]).memory()[0]

    assert busy.used_by_pid == {4711: 9 * GIB}
    assert windows.used_by_pid == {33: None}


def test_a_peak_between_two_questions_is_kept(child: Child, describe: Describe) -> None:
    def box(used_mib: int) -> dict[str, Any]:
        held = [{"pid": _RUNNER, "used_mib": used_mib}]
        return {"gpus": [_BUSY | {"used_mib": used_mib, "processes": held}]}

    reader = child(box(100))
    reader.memory()
    for used in (9000, 4000):
        describe(box(used))
        time.sleep(0.25)  # it looks every 40 ms
    look, later = reader.memory()[0], reader.memory()[0]

    assert (look.used_by_pid[_RUNNER], look.free_bytes) == (9000 * MIB, (12288 - 9000) * MIB)
    assert later.used_by_pid[_RUNNER] == 4000 * MIB


def test_what_a_device_does_is_told_by_name_and_unit(child: Child) -> None:
    assert child({"gpus": [_BUSY]}).states((_RUNNER,)) == (
        DeviceState(
            index=0,
            sm_clock_mhz=1777,
            memory_clock_mhz=7501,
            temperature_c=64,
            power_limit_w=170.5,
            throttle=("sw_power_cap", "hw_thermal_slowdown"),
            foreign_processes=1,
            foreign_utilization=0.3,
        ),
    )


def test_drivers_before_r535_tell_why_clocks_are_low_under_the_old_name(child: Child) -> None:
    old = _BUSY | {"code": {"nvmlDeviceGetCurrentClocksEventReasons": 13}}

    assert child({"gpus": [old]}).states(())[0].throttle == ("sw_power_cap", "hw_thermal_slowdown")


def test_what_the_driver_refuses_is_unknown(child: Child) -> None:
    bare = {"name": "NVIDIA GeForce GT 710", "total_mib": 2002}

    assert child({"gpus": [bare]}).states((_RUNNER,)) == (DeviceState(index=0),)


def test_in_a_container_nobody_is_called_a_stranger(child: Child) -> None:
    """The runner is listed under the host's number for it, which looks like anybody's."""
    (state,) = child({"gpus": [_BUSY]}).states((4242,))

    assert (state.foreign_processes, state.foreign_utilization) == (None, None)
    assert state.temperature_c == 64


def test_a_slice_has_the_clocks_of_its_gpu(child: Child) -> None:
    scenario = json.loads(json.dumps(nvml.SCENARIOS["h100_mig"]))
    scenario["gpus"][0] |= {"sm_mhz": 1980, "temperature": 51}

    states = child(scenario).states(())

    assert [(s.index, s.sm_clock_mhz, s.temperature_c) for s in states] == [
        (1, 1980, 51),
        (2, 1980, 51),
    ]


@pytest.mark.parametrize("call", ["nvmlDeviceGetMemoryInfo", "nvmlDeviceGetClockInfo"])
def test_a_driver_that_hangs_while_it_is_watched_is_given_up(
    child: Child, describe: Describe, call: str
) -> None:
    reader = child({"gpus": [_BUSY]})
    devices = Devices(reader)
    describe({"gpus": [_BUSY | {"delay_ms": {call: 60_000}}]})
    started = time.monotonic()
    devices.sample()
    states = reader.states((_RUNNER,))

    assert time.monotonic() - started < 5
    assert states == ()
    assert [(p.bytes, p.how) for p in devices.peaks((_RUNNER,))] == [
        (None, "the driver did not answer within 0.5 s")
    ]
    assert reader.memory() == {}  # it is not asked again


def test_the_reading_process_ends_with_the_bench(child: Child) -> None:
    reader = child({"gpus": [_BUSY]})
    (process,) = psutil.Process().children()
    assert any(part.endswith("nvml_reader.py") for part in process.cmdline())
    reader.close()

    assert not process.is_running()
    assert reader.memory() == {}


_KILLED = """
import os, sys
from orchestrator.bench.nvml import NvmlChild
child = NvmlChild()
print(child._child.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_reading_process_ends_with_a_bench_that_is_killed(describe: Describe) -> None:
    describe({"gpus": [_BUSY]})
    done = subprocess.run(
        [sys.executable, "-c", _KILLED], capture_output=True, text=True, check=False
    )
    until = time.monotonic() + 5
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < until:
        time.sleep(0.02)

    assert not psutil.pid_exists(int(done.stdout))


@pytest.mark.parametrize(
    ("state", "noisy"),
    [
        pytest.param({}, False, id="nothing-known"),
        pytest.param({"throttle": ("sw_power_cap", "sync_boost")}, False, id="at-its-limit"),
        pytest.param({"throttle": ("hw_thermal_slowdown",)}, True, id="hot"),
        pytest.param({"throttle": ("sw_thermal_slowdown",)}, True, id="told-to-cool"),
        pytest.param({"throttle": ("hw_power_brake",)}, True, id="power-fault"),
        pytest.param({"throttle": ("sw_power_cap", "hw_slowdown")}, True, id="braked"),
        pytest.param({"foreign_utilization": 0.09, "foreign_processes": 3}, False, id="a-desktop"),
        pytest.param({"foreign_utilization": 0.10}, True, id="shared"),
    ],
)
def test_what_disturbs_a_sample(state: dict[str, Any], noisy: bool) -> None:
    quiet = DeviceState(index=0)

    assert disturbed([quiet, DeviceState(index=1, **state)]) is noisy
    assert not disturbed([])
