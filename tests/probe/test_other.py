import random
from pathlib import Path

import pytest

from orchestrator.fault import Fault
from orchestrator.machine import Absent, Accelerator
from orchestrator.probe.amd import AmdProbe
from orchestrator.probe.apple import AppleProbe
from orchestrator.probe.ascend import AscendProbe
from orchestrator.probe.intel import IntelProbe
from orchestrator.probe.other import VENDORS, OtherProbe
from orchestrator.probe.sight import Sight
from orchestrator.usability import judged, usability
from tests.probe import vendor_boxes
from tests.probe.boxes import Box
from tests.probe.vendor_boxes import BOXES

ROUNDS = 6


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_hygon_is_told_by_its_ids_and_its_bridges_are_not(box: Box) -> None:
    vendor_boxes.hygon(box)
    found = OtherProbe(box.sight).read()
    assert not isinstance(found, Absent)
    assert [(c.vendor, c.index, c.name, c.pci) for c in found] == [
        ("other", 0, "Hygon K100_AI", "0000:05:00.0"),
        ("other", 1, "Hygon DCU", "0000:06:00.0"),
    ]
    assert all(c.memory_total_bytes is None for c in found)


def test_there_is_no_engine_for_them(box: Box) -> None:
    vendor_boxes.hygon(box)
    found = OtherProbe(box.sight).read()
    assert not isinstance(found, Absent)
    told = usability(found[0], server_version="0.33.0")
    assert told == Fault("Ollama has no backend for this vendor's accelerators")


@pytest.mark.parametrize("vendor", VENDORS)
def test_each_vendor_is_known_by_its_id(box: Box, vendor: str) -> None:
    vendor_boxes.pci(box, "0000:01:00.0", f"0x120000 {vendor} 0x0001")
    found = OtherProbe(box.sight).read()
    assert not isinstance(found, Absent)
    assert found[0].name.startswith(VENDORS[vendor])


def test_display_adapters_of_servers_and_virtual_machines_are_not_mentioned(box: Box) -> None:
    vendor_boxes.virtual_display(box)
    assert OtherProbe(box.sight).read() == Absent(
        probe="other", reason="no accelerator of another vendor"
    )


def all_read(sight: Sight) -> list[Accelerator]:
    probes = (
        AmdProbe(sight, frozenset({44}), 990),
        IntelProbe(sight),
        AppleProbe(sight),
        AscendProbe(sight),
        OtherProbe(sight),
    )
    found: list[Accelerator] = []
    for probe in probes:
        reading = probe.read()
        if isinstance(reading, Absent):
            assert reading.probe == probe.name
            assert reading.reason
        else:
            found += reading
    return found


def assert_possible(found: list[Accelerator]) -> None:
    assert len({(c.vendor, c.index) for c in found}) == len(found)
    for card in found:
        total, free = card.memory_total_bytes, card.memory_free_bytes
        assert card.name.isprintable()
        assert total is None or 0 <= total < 2**63
        assert free is None or (total is not None and 0 <= free <= total)
        told = f"{card.unusable_reason or ''}{card.driver or ''}{card.pci or ''}"
        told.encode()
        assert "\n" not in told
    for card in judged(found, server_version=None):
        assert card.usable or card.unusable_reason


@pytest.mark.parametrize("name", BOXES)
def test_each_captured_box_is_read_into_what_can_be(box: Box, name: str) -> None:
    BOXES[name](box)
    assert_possible(all_read(box.sight))


NOISE = (
    b"",
    b"\0\0\0",
    b"-1\n",
    b"0\n",
    "²\n".encode(),
    b"9" * 5000,
    b"9223372036854775807\n",
    b"\xff\xfe\x00\n\x1b[2J",
    b"gfx_target_version 999999999999\nsimd_count -5\nlocation_id 99999999999999\n",
    b"NPU ID : 99999999999\n| 0 910B | OK | x |\n| 0 | 0000:C1:00.0 | 9 / 1 |\nChip ID : 1\n",
    b"hw.memsize: -1\niogpu.wired_limit_mb: \xb2\nsysctl.proc_translated: 1\n",
)


@pytest.mark.parametrize("name", BOXES)
def test_no_file_and_no_answer_can_make_a_probe_raise(box: Box, name: str) -> None:
    BOXES[name](box)
    chance = random.Random(name)
    files = [p for p in box.root.rglob("*") if p.is_file() and not p.is_symlink()]
    intact = {path: path.read_bytes() for path in files}
    trials = [[path] for path in files] + [files] * ROUNDS
    for trial in trials:
        for noise in (*NOISE, None):
            for path in trial:
                path.write_bytes(chance.randbytes(chance.randrange(64)) if noise is None else noise)
            assert_possible(all_read(Sight(box.root)))
        for path in trial:
            path.write_bytes(intact[path])


@pytest.mark.parametrize("name", BOXES)
def test_a_file_that_became_a_folder_makes_no_probe_raise(box: Box, name: str) -> None:
    BOXES[name](box)
    for path in [p for p in box.root.rglob("*") if p.is_file() and not p.is_symlink()]:
        intact = path.read_bytes()
        path.unlink()
        path.mkdir()
        assert_possible(all_read(Sight(box.root)))
        path.rmdir()
        path.write_bytes(intact)
