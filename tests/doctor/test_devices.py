"""What the doctor says of accelerators: what others hold of them, and what is left out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import DeviceProcess, Host, LoadedModel, Machine, ServerSettings
from orchestrator.units import GIB, MIB
from tests.doctor.cards import SERVER, box_with, card, checks, outcomes, read
from tests.probe import vendor_boxes
from tests.probe.boxes import Box


def runner(pid: int, held: int | None) -> DeviceProcess:
    return DeviceProcess(pid=pid, name="ollama", bytes=held)


def holding(*processes: DeviceProcess, free: int, **server: Any) -> Machine:
    return box_with(
        card(memory_free_bytes=free, processes=processes), server=replace(SERVER, **server)
    )


MODEL = LoadedModel(name="deepseek-r1:32b", digest="a", bytes=19 * GIB)


def test_what_the_servers_own_runners_hold_is_as_it_should_be() -> None:
    deployed = holding(runner(71, 19 * GIB), free=4 * GIB, runners=(71,), loaded=(MODEL,))
    assert outcomes(deployed) == ["pass"]


def test_what_the_server_itself_holds_is_as_it_should_be() -> None:
    assert outcomes(holding(runner(7, 19 * GIB), free=4 * GIB)) == ["pass"]


def test_a_runner_of_nobody_is_not_excused() -> None:
    (check,) = checks(holding(runner(71, 19 * GIB), runner(72, GIB), free=4 * GIB, runners=(72,)))
    assert check.outcome == "warn"
    assert "held by pid 71 (ollama) 19.00 GiB" in check.detail
    assert "pid 72" not in check.detail


def test_many_small_ones_are_together_a_large_one() -> None:
    small = [DeviceProcess(pid=100 + n, bytes=GIB + n) for n in range(5)]
    (check,) = checks(holding(*small, free=18 * GIB))
    assert check.outcome == "warn"
    assert "pid 104 1.00 GiB, pid 103 1.00 GiB, pid 102 1.00 GiB and 2 more" in check.detail
    assert outcomes(holding(*small[:2], free=20 * GIB)) == ["pass"]


@pytest.mark.parametrize(
    ("free", "outcome"),
    [pytest.param(4 * GIB, "pass", id="the-model"), pytest.param(GIB, "warn", id="and-more")],
)
def test_where_the_driver_names_no_bytes_the_rest_is_what_others_hold(
    free: int, outcome: str
) -> None:
    found = holding(runner(71, None), runner(5, None), free=free, runners=(71,), loaded=(MODEL,))
    assert outcomes(found) == [outcome]


def test_in_a_container_the_hosts_numbers_name_nobody_here() -> None:
    inside = replace(
        holding(runner(4711, 19 * GIB), free=4 * GIB, runners=(71,), loaded=(MODEL,)),
        host=Host(container="docker"),
    )
    assert outcomes(inside) == ["pass"]
    assert outcomes(replace(inside, server=SERVER)) == ["warn"]


def sliced(**settings: Any) -> Machine:
    parent = card(
        usable=False, unusable_reason="it is split by MIG: a process is given a slice of it"
    )
    slices = [card(n, uuid=f"MIG-{n}", pci=parent.pci, memory_free_bytes=n * GIB) for n in (1, 2)]
    server = replace(SERVER, settings=ServerSettings(**settings))
    return box_with(parent, *slices, server=server)


def test_a_card_in_slices_is_as_its_owner_wants_it_and_so_is_the_smaller_slice() -> None:
    assert outcomes(sliced()) == ["pass", "pass", "pass"]


def test_a_slice_that_a_mask_leaves_out_is_told_with_the_mask() -> None:
    parent, masked, given = checks(sliced(visible_devices="MIG-2"))
    assert (parent.outcome, masked.outcome, given.outcome) == ("pass", "warn", "pass")
    assert "environment" in (masked.remedy or "")


def test_a_whole_card_that_a_mask_of_slices_leaves_out_is_told_with_the_mask() -> None:
    server = replace(SERVER, settings=ServerSettings(visible_devices="MIG-2"))
    (check,) = checks(box_with(card(), server=server))
    assert check.outcome == "warn"
    assert "environment" in (check.remedy or "")


def test_mig_without_slices_fails_until_there_are_some_or_it_is_off(tmp_path: Path) -> None:
    box = Box(tmp_path)
    whole = {"name": "H100", "total": 80 * GIB, "free": 70 * GIB, "slices": []}
    box.answer("nvml", json.dumps({"driver": "570.86", "gpus": [whole]}))
    (check,) = checks(box_with(*read(box)))
    assert check.outcome == "fail"
    assert "turn MIG off" in (check.remedy or "")


def test_a_lost_card_beside_slices_is_still_lost() -> None:
    lost = card(5, pci=None, usable=False, unusable_reason="it is lost: reboot", remedy="reboot")
    slices = [card(1, uuid="MIG-1", pci=None)]
    assert outcomes(box_with(lost, *slices)) == ["fail", "pass"]


def test_gpus_of_another_vendor_with_less_memory_are_nothing_to_mend() -> None:
    """Also where a card that is broken would turn the scales."""
    mine = card(vendor="amd", gfx="gfx1100", memory_free_bytes=6 * GIB)
    broken = card(
        1, vendor="amd", gfx="gfx1100", usable=False, unusable_reason="no: add it", remedy="add it"
    )
    assert outcomes(box_with(card(), mine)) == ["pass", "pass"]
    assert outcomes(box_with(card(memory_free_bytes=8 * GIB), mine, broken)) == [
        "pass", "pass", "fail",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "outcome", "remedy"),
    [
        ("ascend_910b", "warn", "vLLM-Ascend"),
        ("ascend_without_right", "warn", "vLLM-Ascend"),
        ("ascend_hangs", "warn", "vLLM-Ascend"),
        ("hygon", "warn", "nothing mends it"),
        ("arc_a770_xe", "warn", "Vulkan driver"),
        ("intel_igpu", "pass", None),
    ],
)
def test_what_ollama_has_no_engine_for_never_fails(
    tmp_path: Path, name: str, outcome: str, remedy: str | None
) -> None:
    box = Box(tmp_path)
    vendor_boxes.BOXES[name](box)
    for check in checks(box_with(*read(box))):
        assert check.outcome == outcome
        assert remedy is None or remedy in (check.remedy or "")


def test_the_small_gpu_of_a_processor_beside_a_card_is_no_reason_to_warn(tmp_path: Path) -> None:
    box = Box(tmp_path)
    vendor_boxes.arc_a770_i915(box)
    assert outcomes(box_with(*read(box))) == ["pass", "warn"]


def test_a_card_that_shares_the_hosts_memory_is_not_held_by_what_the_host_does() -> None:
    shares = card(
        unified_memory=True,
        memory_free_bytes=2 * GIB,
        processes=(DeviceProcess(pid=5, bytes=None), DeviceProcess(pid=6, bytes=100 * MIB)),
    )
    assert outcomes(box_with(shares)) == ["pass"]
