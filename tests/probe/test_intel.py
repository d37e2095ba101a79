from pathlib import Path

import pytest

from orchestrator.machine import Absent, Accelerator
from orchestrator.machine_file import with_known_facts
from orchestrator.probe.intel import IntelProbe
from orchestrator.probe.pci_names import bracketed, listed
from orchestrator.usability import usability
from tests.probe import vendor_boxes
from tests.probe.boxes import Box
from tests.probe.vendor_boxes import GIB


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def read(box: Box) -> tuple[Accelerator, ...]:
    found = IntelProbe(box.sight).read()
    assert not isinstance(found, Absent), found.reason
    return found


def test_a_card_with_i915_beside_the_processors_gpu(box: Box) -> None:
    vendor_boxes.arc_a770_i915(box)
    inside, card = read(box)
    assert (inside.unified_memory, inside.memory_total_bytes) == (True, None)
    assert (card.name, card.index, card.pcie_width) == ("Intel Arc A770", 1, 1)
    assert (card.memory_total_bytes, card.memory_free_bytes) == (16 * GIB, None)
    assert not card.unified_memory


def test_a_card_with_xe(box: Box) -> None:
    vendor_boxes.arc_a770_xe(box)
    (card,) = read(box)
    assert (card.name, card.memory_total_bytes) == ("Intel Arc A770", 16 * GIB)
    assert with_known_facts(card).bandwidth_bytes_per_s == 560 * 10**9


def test_the_memory_of_all_tiles_counts(box: Box) -> None:
    vendor_boxes.max_1550(box)
    (card,) = read(box)
    assert (card.name, card.memory_total_bytes) == (
        "Intel Data Center GPU Max 1550",
        128 * GIB,
    )


def test_the_gpu_of_a_processor_shares_its_memory_and_its_npu_is_no_gpu(box: Box) -> None:
    vendor_boxes.intel_igpu(box)
    (gpu,) = read(box)
    assert (gpu.name, gpu.unified_memory) == ("Intel Iris Xe Graphics", True)


@pytest.mark.parametrize("kind", ["arc_a770_i915", "arc_a770_xe", "intel_igpu"])
def test_each_is_told_and_planned_as_a_cpu(box: Box, kind: str) -> None:
    vendor_boxes.BOXES[kind](box)
    for gpu in read(box):
        told = usability(gpu, server_version="0.33.0")
        assert told is not None
        assert "planned as a CPU" in told.what
        assert "Vulkan driver" in (told.remedy or "")


def test_a_box_without_intel_is_said_to_be_one(box: Box) -> None:
    vendor_boxes.hygon(box)
    assert IntelProbe(box.sight).read() == Absent(
        probe="intel", reason="no Intel GPU on the PCI bus"
    )


def test_a_card_of_unknown_name_is_a_gpu(box: Box) -> None:
    vendor_boxes.pci(box, "0000:03:00.0", "0x030000 0x8086 0xffff")
    assert read(box)[0].name == "Intel GPU"


def test_the_list_of_pci_ids_is_read_below_its_vendor(tmp_path: Path) -> None:
    path = tmp_path / "pci.ids"
    path.write_text(
        "# comment\n1002  AMD\n\t56a0  Not this one\n8086  Intel Corporation\n"
        "\t56a0  DG2 [Arc A770]\n\t\t8086 1020  Not this one either\n9999  MetaX\n"
    )
    assert listed("8086", "56a0", (tmp_path / "none", path)) == "DG2 [Arc A770]"
    assert listed("9999", "56a0", (path,)) is None
    assert listed("8086", "1020", (path,)) is None


def test_the_product_stands_in_brackets() -> None:
    assert bracketed("DG2 [Arc A770]") == "Arc A770"
    assert bracketed("MTT S80") == "MTT S80"
