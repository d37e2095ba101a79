from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import Absent, Accelerator
from orchestrator.machine_file import with_known_facts
from orchestrator.probe.apple import AppleProbe
from orchestrator.usability import usability
from tests.probe import vendor_boxes
from tests.probe.boxes import Box
from tests.probe.vendor_boxes import GIB, MIB


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def read(box: Box) -> Accelerator:
    found = AppleProbe(box.sight).read()
    assert not isinstance(found, Absent), found.reason
    (gpu,) = found
    return gpu


@pytest.mark.parametrize(
    ("chip", "memory", "limit_mib", "granted"),
    [
        pytest.param("Apple M1", 16 * GIB, 0, int(16 * GIB * 0.66), id="m1-16"),
        pytest.param("Apple M2", 32 * GIB, 0, int(32 * GIB * 0.66), id="the-last-small-one"),
        pytest.param("Apple M2 Max", 96 * GIB, 0, 72 * GIB, id="m2-max-96"),
        pytest.param("Apple M2 Max", 96 * GIB, 90000, 90000 * MIB, id="somebody-set-it"),
        pytest.param("Apple M2 Max", 96 * GIB, 999999, 96 * GIB, id="set-above-what-there-is"),
        pytest.param("Apple M2 Max", 96 * GIB, -1, 72 * GIB, id="set-to-nonsense"),
    ],
)
def test_metal_grants_a_share_or_what_somebody_set(
    box: Box, chip: str, memory: int, limit_mib: int, granted: int
) -> None:
    vendor_boxes.mac(box, chip, memory, limit_mib=limit_mib)
    gpu = read(box)
    assert (gpu.name, gpu.memory_total_bytes, gpu.unified_memory) == (chip, granted, True)
    assert gpu.memory_free_bytes is None  # the host tells what is free: they share it
    assert usability(gpu, server_version="0.33.0") is None


def test_a_name_that_this_mac_does_not_know_is_missing_and_no_harm(box: Box) -> None:
    box.answer("uname", "Darwin arm64")
    box.answer("sysctl", f"hw.memsize: {16 * GIB}\nmachdep.cpu.brand_string: Apple M1\n")
    assert read(box).memory_total_bytes == int(16 * GIB * 0.66)


def test_memory_that_is_not_told_is_unknown(box: Box) -> None:
    box.answer("uname", "Darwin arm64")
    box.answer("sysctl", "hw.memsize: lots\nmachdep.cpu.brand_string: Apple M1\n")
    assert read(box).memory_total_bytes is None


@pytest.mark.parametrize(
    ("make", "bandwidth"),
    [
        pytest.param({"chip": "Apple M1", "memory": 16 * GIB}, 68.25e9, id="m1"),
        pytest.param({"chip": "Apple M2 Max", "memory": 96 * GIB}, 409.6e9, id="m2-max"),
        pytest.param({"chip": "Apple M4 Pro", "memory": 48 * GIB}, 273e9, id="m4-pro"),
    ],
)
def test_the_catalogue_knows_the_chip(box: Box, make: dict[str, Any], bandwidth: float) -> None:
    vendor_boxes.mac(box, **make)
    assert with_known_facts(read(box)).bandwidth_bytes_per_s == bandwidth


@pytest.mark.parametrize(
    ("cores", "bandwidth"),
    [
        pytest.param(40, 546e9, id="all-of-them"),
        pytest.param(32, 410e9, id="fewer-on-a-narrower-bus"),
        pytest.param(None, 410e9, id="not-told-is-the-slower"),
    ],
)
def test_the_cores_tell_chips_of_one_name_apart(
    box: Box, cores: int | None, bandwidth: float
) -> None:
    vendor_boxes.mac(box, "Apple M4 Max", 36 * GIB)
    if cores:
        box.answer("ioreg", f'    "gpu-core-count" = {cores}\n')
    assert with_known_facts(read(box)).bandwidth_bytes_per_s == bandwidth


def test_a_wired_limit_on_an_m4_max(box: Box) -> None:
    vendor_boxes.m4_max(box)
    gpu = read(box)
    assert (gpu.name, gpu.memory_total_bytes) == ("Apple M4 Max (40-core GPU)", 120000 * MIB)


def test_a_python_under_rosetta_sees_the_chip_and_says_so(box: Box) -> None:
    vendor_boxes.rosetta(box)
    gpu = with_known_facts(read(box))
    assert gpu.name == "Apple M2 Max (read by a Python under Rosetta)"
    assert gpu.bandwidth_bytes_per_s == 409.6e9


def test_a_chip_that_rosetta_hides_is_not_guessed(box: Box) -> None:
    box.answer("uname", "Darwin x86_64")
    brand = "machdep.cpu.brand_string: VirtualApple @ 2.50GHz processor"
    box.answer("sysctl", f"hw.memsize: {16 * GIB}\n{brand}\nsysctl.proc_translated: 1\n")
    assert read(box).name == "Apple silicon (read by a Python under Rosetta)"


def test_an_intel_mac_has_no_gpu_for_ollama(box: Box) -> None:
    vendor_boxes.intel_mac(box)
    found = AppleProbe(box.sight).read()
    assert isinstance(found, Absent)
    assert "Intel processor" in found.reason


def test_what_is_no_mac_is_not_asked(box: Box) -> None:
    box.answer("sysctl", "machdep.cpu.brand_string: Apple M1\n")
    assert AppleProbe(box.sight).read() == Absent(probe="apple", reason="not a Mac")


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_a_sysctl_that_does_not_answer_makes_no_intel_mac(box: Box, arch: str) -> None:
    box.answer("uname", f"Darwin {arch}")
    box.answer("sysctl", "fault: sysctl did not answer within 10 s")
    found = AppleProbe(box.sight).read()
    assert isinstance(found, Absent)
    assert "sysctl did not answer" in found.reason
    assert found.present is (arch == "arm64")
    assert found.remedy == "see what `sysctl hw` says"
