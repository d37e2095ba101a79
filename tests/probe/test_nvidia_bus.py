import json
from pathlib import Path

import pytest

from orchestrator.usability import judged
from tests.probe.boxes import Box
from tests.probe.nvidia_boxes import LATEST, Read, cards, one, plug
from tests.real import nvml


def test_the_bus_knows_where_the_lost_card_is(box: Box, read: Read) -> None:
    for bus in ("18", "2a", "3a", "5d", "9a", "ab", "ba", "db"):
        plug(box, f"0000:{bus}:00.0")
    found = cards(read("one_lost"))
    assert len(found) == 8
    assert found[5].pci == "0000:ab:00.0"


def test_a_fallen_card_is_shown_with_its_address(box: Box, read: Read) -> None:
    """Two on the bus, one in the driver's list; the indexes of the list stay as they are."""
    plug(box, "0000:01:00.0")
    plug(box, "0000:c1:00.0")
    listed, fallen = cards(read("rtx4090"))
    assert (listed.index, fallen.index, fallen.pci) == (0, 1, "0000:c1:00.0")
    assert listed.usable
    assert fallen.name == "NVIDIA GeForce RTX 4090"
    assert "at 0000:c1:00.0: it is on the PCI bus and the driver does not list it (1 of 2 are)" in (
        fallen.unusable_reason or ""
    )


def test_seven_listed_of_eight(box: Box, stub: Path) -> None:
    buses = ("18", "2a", "3a", "5d", "9a", "ab", "ba", "db")
    for bus in buses:
        plug(box, f"0000:{bus}:00.0")
    said = json.loads(nvml.answer(nvml.environment(stub, "h100_x8", box.root.parent)))
    del said["gpus"][3]
    box.answer("nvml", json.dumps(said))
    found = judged(cards(nvml.read_box(box.root)), server_version=LATEST)
    assert [c.usable for c in found] == [True] * 7 + [False]
    assert found[7].pci == "0000:5d:00.0"
    assert "the driver does not list it (7 of 8 are)" in (found[7].unusable_reason or "")


def test_no_server_can_be_given_a_fallen_card_by_number(box: Box, read: Read) -> None:
    """CUDA's list ends at the first number that it does not know."""
    plug(box, "0000:02:00.0")
    plug(box, "0000:c1:00.0")
    found = cards(read("rtx3090x2"))
    shown = judged(found, server_version=LATEST, visible_devices="0,2,1")
    assert [c.usable for c in shown] == [True, False, False]


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        ("vfio-pci", "vfio-pci is bound to it: it belongs to a virtual machine"),
        ("nouveau", "nouveau is bound to it, which Ollama cannot use"),
        (None, "no driver is bound to it"),
        ("pci-stub", "pci-stub is bound to it"),
    ],
)
def test_a_card_that_another_driver_has_is_not_called_fallen(
    box: Box, read: Read, driver: str | None, reason: str
) -> None:
    plug(box, "0000:01:00.0")
    plug(box, "0000:c1:00.0", driver=driver, device="0x1b80")
    other = cards(read("rtx4090"))[1]
    assert other.name == "NVIDIA GPU 0x1b80"
    assert f"at 0000:c1:00.0: {reason}" in (other.unusable_reason or "")


def information(box: Box, address: str, minor: int) -> None:
    box.file(
        f"/proc/driver/nvidia/gpus/{address}/information",
        f"Model: \t\t NVIDIA\nDevice Minor: \t {minor}\nGPU Excluded:\t No\n",
    )


def test_a_container_is_not_told_of_cards_that_it_was_not_given(box: Box, read: Read) -> None:
    plug(box, "0000:01:00.0")
    plug(box, "0000:c1:00.0")
    information(box, "0000:01:00.0", 0)
    box.file("/dev/nvidia0", "")
    assert len(cards(read("rtx4090"))) == 1, "the toolkit hides what it does not give"

    information(box, "0000:c1:00.0", 1)
    assert len(cards(read("rtx4090"))) == 1, "its device node is not here"

    box.file("/dev/nvidia1", "")
    assert len(cards(read("rtx4090"))) == 2


def test_virtual_functions_of_a_card_are_no_cards(box: Box, read: Read) -> None:
    plug(box, "0000:01:00.0")
    plug(box, "0000:01:00.4")
    box.link("/sys/bus/pci/devices/0000:01:00.4/physfn", "../0000:01:00.0")
    assert len(cards(read("rtx4090"))) == 1


def test_of_several_cards_without_address_none_is_guessed(box: Box, read: Read) -> None:
    plug(box, "0000:01:00.0")
    plug(box, "0000:c1:00.0")
    assert [c.pci for c in cards(read("getters_fail"))] == [None]


def test_a_card_is_the_same_whatever_else_is_on_the_box(box: Box, read: Read) -> None:
    alone = one(read("rtx4090"))
    plug(box, "0000:01:00.0")
    plug(box, "0000:02:00.0")
    assert cards(read("rtx4090"))[0] == alone
