import json
from pathlib import Path

import pytest

from orchestrator.machine import Absent, DeviceProcess
from orchestrator.units import MIB
from tests.probe.boxes import Box
from tests.probe.nvidia_boxes import MODULES, Read, cards, one, plug, why
from tests.real import nvml


@pytest.mark.parametrize(
    ("scenario", "reason", "present"),
    [
        pytest.param(
            "driver_mismatch",
            "the loaded kernel module is still the old one: reboot",
            True,
            id="18",
        ),
        pytest.param("driver_not_loaded", "kernel module is not loaded: `modprobe", False, id="9"),
        pytest.param("no_permission", "no permission to open /dev/nvidia*", True, id="4"),
        pytest.param("os_refused", "system refused access to /dev/nvidia*", True, id="17"),
        pytest.param("unknown_error", "unknown error (after suspend", True, id="999"),
        pytest.param("without_power", "attach its power cables", True, id="8"),
        pytest.param("other_error", "NVML does not start (error 27)", True, id="another"),
        pytest.param("no_gpus", "the driver is loaded and lists no GPU", False, id="no-gpus"),
    ],
)
def test_why_nvml_gives_nothing(read: Read, scenario: str, reason: str, present: bool) -> None:
    found = read(scenario)
    assert reason in why(found)
    assert isinstance(found, Absent)
    assert found.present is present


def test_one_lost_card_of_eight_costs_only_itself(read: Read) -> None:
    found = cards(read("one_lost"))
    assert [c.index for c in found] == list(range(8))
    assert [c.index for c in found if not c.usable] == [5]
    assert "the GPU is lost (it fell off the bus): reboot" in (found[5].unusable_reason or "")
    assert found[5].memory_total_bytes is None


def test_a_card_that_is_lost_after_its_handle_was_given(read: Read) -> None:
    lost, good = cards(read("lost_after_handle"))
    assert "lost" in (lost.unusable_reason or "")
    assert lost.name == "NVIDIA GeForce RTX 3090"
    assert good.usable


def test_a_card_that_needs_a_reset_says_so_whatever_call_met_it(read: Read) -> None:
    assert "the GPU needs a reset" in (one(read("needs_reset")).unusable_reason or "")


def test_a_card_that_may_not_be_opened_costs_only_itself(read: Read) -> None:
    good, refused = cards(read("one_refused"))
    assert good.usable
    assert "no permission to open /dev/nvidia*" in (refused.unusable_reason or "")


@pytest.mark.parametrize("module", MODULES)
def test_a_mismatch_names_both_versions(box: Box, module: str) -> None:
    box.file("/proc/driver/nvidia/version", module)
    library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.90.07"
    told = {"code": 18, "library": library, "installed": ["535.183.01", "550.90.07"]}
    box.answer("nvml", json.dumps(told))
    reason = why(nvml.read_box(box.root))
    assert "module 550.54.14; library 550.90.07; also installed: library 535.183.01" in reason


def test_a_mismatch_says_which_libraries_lie_there(stub: Path, box: Box, tmp_path: Path) -> None:
    """The reading process finds out itself which file the loader gave it."""
    folder = tmp_path / "lib"
    folder.mkdir()
    library = (stub / "libnvidia-ml.so.1").read_bytes()
    for version in ("550.90.07", "535.183.01"):
        (folder / f"libnvidia-ml.so.{version}").write_bytes(library)
    (folder / "libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.550.90.07")
    environ = nvml.environment(folder, "driver_mismatch", tmp_path)
    box.answer("nvml", nvml.answer(environ))
    assert "(library 550.90.07; also installed: library 535.183.01)" in why(nvml.read_box(box.root))


NOTHING = '{"code": 12, "fault": ""}'


def test_no_library_and_no_card(box: Box) -> None:
    box.answer("nvml", NOTHING)
    found = nvml.read_box(box.root)
    assert why(found) == "no driver library (libnvidia-ml.so.1) and no NVIDIA GPU on the PCI bus"
    assert isinstance(found, Absent)
    assert not found.present


def test_no_library_and_a_card(box: Box) -> None:
    plug(box, "0000:01:00.0", driver=None)
    box.answer("nvml", NOTHING)
    found = nvml.read_box(box.root)
    assert why(found).startswith("GPU present at 0000:01:00.0, no driver library")
    assert isinstance(found, Absent)
    assert found.present


@pytest.mark.parametrize("code", [9, 12])
def test_nouveau_is_named_where_it_has_the_card(box: Box, code: int) -> None:
    plug(box, "0000:01:00.0", driver="nouveau")
    box.answer("nvml", json.dumps({"code": code}))
    assert "at 0000:01:00.0 (nouveau is bound to it, which Ollama cannot use" in why(
        nvml.read_box(box.root)
    )


def test_an_audio_function_is_no_card(box: Box) -> None:
    plug(box, "0000:01:00.1")
    box.file("/sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n")
    box.answer("nvml", NOTHING)
    assert why(nvml.read_box(box.root)).endswith("no NVIDIA GPU on the PCI bus")


def test_a_driver_that_only_proc_shows(box: Box) -> None:
    box.file("/proc/driver/nvidia/version", MODULES[0])
    box.answer("nvml", NOTHING)
    assert why(nvml.read_box(box.root)).startswith("GPU present, no driver library")


def test_a_box_that_was_captured_without_asking_nvml(box: Box) -> None:
    assert why(nvml.read_box(box.root)) == "no NVIDIA GPU on the PCI bus"
    plug(box, "0000:01:00.0")
    assert "GPU present at 0000:01:00.0, NVML could not be read" in why(nvml.read_box(box.root))


def test_on_wsl2_the_card_is_read_and_its_processes_hold_unknown_amounts(
    box: Box, read: Read
) -> None:
    box.file("/dev/dxg", "")
    card = one(read("wsl2_4070"))
    assert card.usable
    assert card.memory_free_bytes == (12282 - 1500) * MIB
    assert card.memory_reserved_bytes is None
    assert card.processes == (DeviceProcess(pid=33, name=None, bytes=None),)


@pytest.mark.parametrize("code", [9, 12, 18, 999])
def test_on_wsl2_nobody_is_sent_to_load_a_kernel_module(box: Box, code: int) -> None:
    box.file("/dev/dxg", "")
    box.answer("nvml", json.dumps({"code": code}))
    reason = why(nvml.read_box(box.root))
    assert "on WSL2 the driver is that of Windows" in reason
    assert "modprobe" not in reason
    assert "reboot" not in reason
