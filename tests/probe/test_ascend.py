from pathlib import Path

import pytest

from orchestrator.machine import Absent, Accelerator
from orchestrator.machine_file import with_known_facts
from orchestrator.probe.ascend import AscendProbe
from orchestrator.probe.npu_smi import table_chips, usages
from orchestrator.usability import usability
from tests.probe import vendor_boxes
from tests.probe.boxes import Box
from tests.probe.vendor_boxes import GIB, MIB


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def read(box: Box) -> tuple[Accelerator, ...]:
    found = AscendProbe(box.sight).read()
    assert not isinstance(found, Absent), found.reason
    return found


def test_eight_910b(box: Box) -> None:
    vendor_boxes.ascend_910b(box)
    found = read(box)
    assert [c.index for c in found] == list(range(8))
    assert {c.name for c in found} == {"Ascend 910B3"}
    assert (found[1].pci, found[1].driver) == ("0000:c2:00.0", "24.1.0")
    assert found[1].memory_total_bytes == 64 * GIB
    assert found[1].memory_free_bytes == 64 * GIB - 4488 * MIB
    assert with_known_facts(found[0]).bandwidth_bytes_per_s == 1600 * 10**9


def test_a_310p_has_no_hbm_and_two_chips_a_card(box: Box) -> None:
    vendor_boxes.ascend_310p(box)
    found = read(box)
    assert [c.memory_total_bytes for c in found] == [
        44280 * MIB,
        43693 * MIB,
        44280 * MIB,  # the table shows 0 / 0: `usages` tells it
        21527 * MIB,
    ]
    assert found[0].memory_free_bytes == (44280 - 1529) * MIB
    assert found[2].memory_free_bytes == 44280 * MIB * 97 // 100
    assert {c.name for c in found} == {"Ascend 310P3"}


def test_a_chip_that_the_table_tells_is_not_asked_for_again(box: Box) -> None:
    vendor_boxes.ascend_910b(box)
    read(box)
    assert not [key for key in box.seen if "usages" in key]


def test_a_910c_is_two_chips_of_half_the_memory_and_speed(box: Box) -> None:
    vendor_boxes.ascend_910c(box)
    found = read(box)
    assert [c.memory_free_bytes for c in found] == [
        (65536 - used) * MIB for used in (3416, 3195, 3415, 2886)
    ]
    assert {c.name for c in found} == {"Ascend 910C, one chip of two"}
    assert with_known_facts(found[0]).bandwidth_bytes_per_s is None  # known for both together


def test_a_table_of_another_shape_is_replaced_by_the_lists(box: Box) -> None:
    vendor_boxes.ascend_without_table(box)
    found = read(box)
    assert [(c.index, c.memory_total_bytes) for c in found] == [(0, 64 * GIB), (1, 64 * GIB)]
    assert found[0].memory_free_bytes == 48 * GIB
    assert found[0].name == "Ascend NPU"


def test_the_newest_do_not_number_their_chips(box: Box) -> None:
    vendor_boxes.ascend_without_table(box)
    text = (
        "NPU ID : 3\nHBM Capacity(MB) : 131072\nHBM Usage Rate(%) : 3\nAicore Usage Rate(%) : 0\n"
    )
    box.answer("npu-smi info -t usages -i 3", text)
    assert read(box)[1].memory_total_bytes == 128 * GIB


@pytest.mark.parametrize(
    ("cell", "memory"),
    [
        pytest.param("0    1529 / 44280    0 / 0", (44280, 42751), id="no-hbm"),
        pytest.param("0    1024 / 15171    4487/ 65536", (65536, 61049), id="hbm-and-other-memory"),
        pytest.param("0    0 / 0    70000 / 65536", (65536, 0), id="more-than-there-is"),
    ],
)
def test_of_two_figures_that_of_hbm_counts(cell: str, memory: tuple[int, int]) -> None:
    rows = f"| 0     910B  | OK            | 1 |\n| 0     0   | 0000:C1:00.0  | {cell} |\n"
    (chip,) = table_chips(rows)
    assert (chip.total_bytes, chip.free_bytes) == (memory[0] * MIB, memory[1] * MIB)


def test_a_table_of_version_26_has_columns_of_its_own() -> None:
    (chip,) = table_chips(
        "| 3      | Ascend950PR      | OK            | 191.3       56    0     / 0     |\n"
        "|        |                  | 0000:F1:00.0  | 0    0    / 0    5255  / 131072 |\n"
    )
    assert (chip.npu, chip.number, chip.name) == (3, 0, "Ascend950PR")
    assert (chip.bus, chip.total_bytes) == ("0000:f1:00.0", 128 * GIB)


def test_more_than_all_of_it_in_use_is_all_of_it() -> None:
    text = "HBM Capacity(MB) : 1024\nHBM Usage Rate(%) : 250\nChip ID : 1\n"
    assert usages(text) == {1: (GIB, 0)}


@pytest.mark.parametrize("name", ["ascend_910b", "ascend_310p", "ascend_910c"])
def test_the_engine_that_serves_it_is_named(box: Box, name: str) -> None:
    vendor_boxes.BOXES[name](box)
    for chip in read(box):
        told = usability(chip, server_version="0.33.0")
        assert told is not None
        assert "vLLM-Ascend" in (told.remedy or "")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("ascend_hangs", "did not answer within 10 s", id="hangs"),
        pytest.param("ascend_without_right", "ret is -8005", id="names-what-it-said"),
        pytest.param("ascend_without_right", "group HwHiAiUser", id="names-the-right"),
    ],
)
def test_chips_that_cannot_be_read_are_told_without_memory(box: Box, name: str, told: str) -> None:
    vendor_boxes.BOXES[name](box)
    found = read(box)
    assert [(c.name, c.pci) for c in found] == [
        ("Ascend 910B", "0000:c1:00.0"),
        ("Ascend 910B", "0000:c2:00.0"),
    ]
    for chip in found:
        assert (chip.memory_total_bytes, chip.memory_free_bytes) == (None, None)
        assert told in (chip.unusable_reason or "")
        assert "vLLM-Ascend" in (chip.remedy or "")


def test_after_one_call_that_hangs_no_other_is_made(box: Box) -> None:
    vendor_boxes.ascend_hangs(box)
    box.answer("npu-smi info -l", "\tNPU ID                         : 0\n")
    assert read(box)[0].memory_total_bytes is None
    assert "did not answer" in (read(box)[0].unusable_reason or "")


def test_a_container_that_is_given_one_chip_of_two_does_not_know_which(box: Box) -> None:
    vendor_boxes.ascend_hangs(box)
    (box.root / "dev" / "davinci1").unlink()
    (chip,) = read(box)
    assert (chip.name, chip.pci) == ("Ascend 910B", None)


def test_chips_on_the_bus_without_devices_say_that_the_driver_is_missing(box: Box) -> None:
    vendor_boxes.pci(box, "0000:01:00.0", "0x120000 0x19e5 0xd500")
    (chip,) = read(box)
    assert chip.name == "Ascend 310P"
    assert "no /dev/davinci*" in (chip.unusable_reason or "")


def test_a_management_chip_of_huawei_is_no_npu(box: Box) -> None:
    vendor_boxes.virtual_display(box)
    box.file("/dev/davinci_manager", "")
    found = AscendProbe(box.sight).read()
    assert isinstance(found, Absent)
    assert "no Ascend NPU" in found.reason
