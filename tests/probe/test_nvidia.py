import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.fault import Fault
from orchestrator.machine import Accelerator, DeviceProcess
from orchestrator.machine_file import with_known_facts
from orchestrator.units import GIB, MIB
from orchestrator.usability import judged, usability
from tests.probe.boxes import Box
from tests.probe.nvidia_boxes import LATEST, Read, cards, one
from tests.real import nvml


def test_a_card_with_all_its_facts(read: Read) -> None:
    assert one(read("rtx4090")) == Accelerator(
        vendor="nvidia",
        name="NVIDIA GeForce RTX 4090",
        index=0,
        uuid="GPU-00000000-1111-2222-3333-444444444444",
        memory_total_bytes=24564 * MIB,
        memory_free_bytes=24200 * MIB,
        memory_reserved_bytes=300 * MIB,
        compute_capability="8.9",
        driver="570.86",
        unified_memory=False,
        bandwidth_bytes_per_s=1_008_096_000_000,
        pci="0000:01:00.0",
        pcie_generation=4,
        pcie_width=16,
        ecc=False,
        virtual=False,
    )


def test_nvml_is_shut_down_again(read: Read, tmp_path: Path) -> None:
    read("rtx4090")
    calls = (tmp_path / "calls.log").read_text().splitlines()
    assert (calls[0], calls[-1]) == ("nvmlInit 0", "nvmlShutdown 0")


@pytest.mark.parametrize(
    ("scenario", "gb_per_s"),
    [
        pytest.param("rtx4090", 1008, id="4090"),
        pytest.param("rtx3090x2", 936, id="3090"),
        pytest.param("a100_80gb_x8", 2039, id="A100-80"),
        pytest.param("h100_x8", 3352, id="H100-SXM"),
        pytest.param("a10", 600, id="A10"),
        pytest.param("rtx3060_busy", 360, id="3060"),
        pytest.param("wsl2_4070", 504, id="4070"),
        pytest.param("gh200", 4023, id="GH200"),
    ],
)
def test_bus_width_and_clock_give_the_bandwidth_of_the_data_sheet(
    read: Read, scenario: str, gb_per_s: int
) -> None:
    for card in cards(read(scenario)):
        assert card.bandwidth_bytes_per_s is not None
        assert round(card.bandwidth_bytes_per_s / 10**9) == gb_per_s


@pytest.mark.parametrize("scenario", ["a100_80gb_x8", "h100_x8"])
def test_eight_cards_are_all_usable_and_in_the_drivers_order(read: Read, scenario: str) -> None:
    found = cards(read(scenario))
    assert [c.index for c in found] == list(range(8))
    assert len({c.uuid for c in found}) == len({c.pci for c in found}) == 8
    assert all(c.usable and c.ecc for c in judged(found, server_version=LATEST))


def test_two_cards_keep_their_indexes_and_uuids(read: Read) -> None:
    found = cards(read("rtx3090x2"))
    assert [c.index for c in found] == [0, 1]
    assert len({c.uuid for c in found}) == 2


def test_ecc_on_graphics_memory_has_already_taken_its_part(read: Read) -> None:
    card = one(read("a10"))
    assert (card.ecc, card.memory_total_bytes) == (True, 23028 * MIB)


def test_what_the_driver_reserves_is_in_the_total_and_never_free(read: Read) -> None:
    card = cards(read("a100_80gb_x8"))[0]
    assert card.memory_reserved_bytes == 904 * MIB
    assert card.memory_free_bytes == (81920 - 904 - 8) * MIB


def test_our_own_mask_hides_nothing(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [c.index for c in cards(read("rtx3090x2"))] == [0, 1]


def test_a_getter_that_fails_costs_a_field_and_not_the_card(read: Read) -> None:
    assert one(read("getters_fail")) == Accelerator(
        vendor="nvidia",
        name="NVIDIA GeForce RTX 4090",
        index=0,
        memory_total_bytes=24564 * MIB,
        memory_free_bytes=24200 * MIB,
        driver="570.86",
        pcie_width=16,
    )


def test_a_process_that_holds_memory_is_named_and_counted_once(read: Read) -> None:
    card = one(read("rtx3060_busy"))
    assert card.processes == (DeviceProcess(pid=4711, name="blender", bytes=9 * GIB),)
    assert card.memory_free_bytes == (12288 - 200) * MIB - 9 * GIB


def test_an_old_driver_tells_its_processes_by_the_old_call(read: Read, tmp_path: Path) -> None:
    assert one(read("gt710")).processes == (DeviceProcess(pid=1234, name="Xorg", bytes=40 * MIB),)
    assert "nvmlDeviceGetGraphicsRunningProcesses_v3 13" in (tmp_path / "calls.log").read_text()


def held_by(box: Box, monkeypatch: pytest.MonkeyPatch, *processes: dict[str, Any]) -> Accelerator:
    """Read a card of 1000 MiB that these processes hold."""
    described = box.root.with_name("held.nvml")
    card = {"name": "Card", "total_mib": 1000, "processes": list(processes)}
    nvml.describe({"driver": "570.86", "gpus": [card]}, described)
    monkeypatch.setenv("NVML_STUB", str(described))
    library = str(box.root.with_name("stub") / "libnvidia-ml.so.1")
    box.answer("nvml", nvml.answer(dict(os.environ), library))
    return one(nvml.read_box(box.root))


@pytest.fixture
def held(box: Box, stub: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Accelerator]:
    box.root.with_name("stub").symlink_to(stub)
    return lambda *processes: held_by(box, monkeypatch, *processes)


def test_a_process_that_nvml_cannot_name_has_its_name_in_proc(
    box: Box, held: Callable[..., Accelerator]
) -> None:
    box.file("/proc/77/comm", "ollama\n")
    (process,) = held({"pid": 77, "used_mib": 5}).processes
    assert process.name == "ollama"


def test_in_another_pid_namespace_the_same_number_is_somebody_else(
    box: Box, held: Callable[..., Accelerator]
) -> None:
    box.file("/proc/77/comm", "innocent\n")
    box.link("/proc/self/ns/pid", "pid:[4026532500]")
    (process,) = held({"pid": 77, "used_mib": 5}).processes
    assert process.name is None


def test_a_device_can_follow_the_memory_of_a_real_process(
    tmp_path: Path, held: Callable[..., Accelerator]
) -> None:
    """What stands in for a driver here can be watched during a bench."""
    (tmp_path / "pid").write_text(str(os.getpid()))
    follows = {"pid_file": str(tmp_path / "pid"), "used_mib": "rss"}
    (process,) = (card := held(follows)).processes
    assert process.pid == os.getpid()
    assert process.bytes is not None
    assert process.bytes > 10 * MIB
    assert card.memory_free_bytes is not None
    assert abs(1000 * MIB - process.bytes - card.memory_free_bytes) < 8 * MIB
    assert held({"pid_file": str(tmp_path / "none"), "used_mib": "rss"}).processes == ()


@pytest.mark.parametrize("version", ["0.9.3", LATEST])
def test_an_old_card_on_an_old_driver_is_read_and_judged(read: Read, version: str) -> None:
    card = one(read("gt710"))
    assert (card.driver, card.memory_total_bytes) == ("470.256.02", 2002 * MIB)
    assert (card.bandwidth_bytes_per_s, card.memory_reserved_bytes) == (None, None)
    told = usability(card, server_version=version)
    assert told == Fault("compute capability 3.5 is below 5.0, which Ollama needs")


def test_a_jetsons_driver_is_not_measured_by_the_numbers_of_other_cards(read: Read) -> None:
    card = one(read("jetson_orin"))
    assert card.driver == "540.4.0"
    assert usability(card, server_version=LATEST) is None


def test_memory_that_no_call_tells_makes_an_unknown_card_unusable(read: Read) -> None:
    card = one(read("memory_unsupported"))
    assert not card.unified_memory
    told = usability(card, server_version=LATEST)
    assert told == Fault("the driver would not tell how much memory it has")


def test_mig_slices_stand_beside_their_unusable_card(read: Read) -> None:
    parent, small, large = cards(read("h100_mig"))
    assert parent.unusable_reason == "it is split by MIG: a process is given a slice of it"
    assert [c.uuid for c in (small, large)] == ["MIG-small", "MIG-large"]
    assert [c.index for c in (parent, small, large)] == [0, 1, 2]
    assert [c.memory_free_bytes for c in (small, large)] == [9856 * MIB, 40320 * MIB]
    assert {(c.compute_capability, c.pci, c.ecc) for c in (small, large)} == {
        ("9.0", "0000:01:00.0", True)
    }
    usable = judged((parent, small, large), server_version=LATEST)
    assert [c.usable for c in usable] == [False, False, True]
    assert with_known_facts(large).bandwidth_bytes_per_s is None


def test_a_card_with_mig_on_and_no_slices_is_unusable_until_it_has_some(read: Read) -> None:
    card = one(read("h100_mig_unsliced"))
    assert "MIG is on and has no slices" in (card.unusable_reason or "")
    assert "turn MIG off" in (card.remedy or "")


def test_a_slice_without_a_uuid_cannot_be_given_to_a_server(box: Box) -> None:
    part = {"name": "slice", "total": GIB, "free": GIB, "codes": {}}
    box.answer("nvml", json.dumps({"gpus": [part | {"slices": [part]}]}))
    assert "UUID" in (cards(nvml.read_box(box.root))[1].unusable_reason or "")


@pytest.mark.parametrize(("scenario", "virtual"), [("vgpu", True), ("passthrough", False)])
def test_a_share_of_a_card_is_told_from_a_whole_one(
    read: Read, scenario: str, virtual: bool
) -> None:
    card = one(read(scenario))
    assert (card.virtual, card.usable, card.processes) == (virtual, True, ())


def test_a_gpu_that_shares_the_hosts_memory(read: Read) -> None:
    card = one(read("gb10"))
    assert (card.unified_memory, card.memory_total_bytes, card.usable) == (True, None, True)
    assert card.pci == "000f:01:00.0"
    assert with_known_facts(card).bandwidth_bytes_per_s == 273 * 10**9


def test_it_shares_it_also_where_the_driver_gives_a_figure(read: Read) -> None:
    card = one(read("gb10_that_answers"))
    assert (card.unified_memory, card.memory_total_bytes) == (True, 122570 * MIB)


def test_an_error_is_no_sign_of_shared_memory(read: Read) -> None:
    card = one(read("memory_unknown"))
    assert not card.unified_memory
    assert "error 999" in (card.unusable_reason or "")


def test_a_card_beside_a_processor_of_its_own_maker_has_its_own_memory(read: Read) -> None:
    card = one(read("gh200"))
    assert (card.unified_memory, card.memory_total_bytes) == (False, 97871 * MIB)


JETSONS = [
    ("NVIDIA Jetson AGX Orin Developer Kit", 64_349_184, "Orin (Jetson AGX Orin 64GB)", 204.8),
    ("NVIDIA Jetson Orin NX Engineering Kit", 16_020_000, "Orin (Jetson Orin NX 16GB)", 102.4),
    ("NVIDIA Jetson Orin Nano Developer Kit", 7_800_000, "Orin (Jetson Orin Nano 8GB)", 68),
    ("NVIDIA Jetson AGX Thor Developer Kit", 128_000_000, "Thor (Jetson AGX Thor 128GB)", 273),
]


@pytest.mark.parametrize(("model", "kib", "name", "gb_per_s"), JETSONS)
def test_a_jetson_without_nvml_is_known_by_its_board(
    box: Box, model: str, kib: int, name: str, gb_per_s: float
) -> None:
    box.file("/etc/nv_tegra_release", "# R35 (release), REVISION: 4.1, GCID: 33958178\n")
    box.file("/proc/device-tree/model", f"{model}\0")
    box.file("/proc/meminfo", f"MemTotal:       {kib} kB\n")
    box.answer("nvml", '{"code": 12, "fault": ""}')
    card = one(nvml.read_box(box.root))
    assert (card.name, card.unified_memory, card.usable) == (name, True, True)
    known = with_known_facts(card)
    assert known.bandwidth_bytes_per_s == round(gb_per_s * 10**9)
    assert usability(known, server_version=LATEST) is None


def test_a_jetson_with_nvml_is_named_by_its_board_too(box: Box, read: Read) -> None:
    box.file("/proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0")
    box.file("/proc/meminfo", "MemTotal:       30000000 kB\n")
    assert one(read("jetson_orin")).name == "Orin (Jetson AGX Orin 32GB)"


def test_a_jetson_before_jetpack_5_is_unusable(box: Box) -> None:
    box.file("/etc/nv_tegra_release", "# R32 (release), REVISION: 7.1\n")
    box.file("/proc/device-tree/model", "NVIDIA Jetson Xavier NX Developer Kit\0")
    box.answer("nvml", '{"code": 12, "fault": ""}')
    card = one(nvml.read_box(box.root))
    assert (card.name, card.compute_capability) == ("Xavier (Jetson Xavier NX)", "7.2")
    assert "L4T R32; Ollama needs R35" in (card.unusable_reason or "")
    assert card.remedy == "install JetPack 5 or newer"


def test_a_jetson_on_a_strange_board_is_still_one(box: Box) -> None:
    box.file("/etc/nv_tegra_release", "# R36 (release), REVISION: 3.0\n")
    box.answer("nvml", '{"code": 12, "fault": ""}')
    card = one(nvml.read_box(box.root))
    assert (card.name, card.compute_capability, card.unified_memory) == ("Tegra", None, True)
