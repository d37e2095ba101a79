import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.machine import Absent
from orchestrator.usability import judged
from tests.probe.boxes import Box
from tests.probe.nvidia_boxes import LATEST, MODULES, plug
from tests.real import nvml


def sound(box: Path) -> None:
    """Whatever stands in the answer, what comes out is a machine that can be written and read."""
    found = nvml.read_box(box)
    if isinstance(found, Absent):
        assert found.reason.isprintable()
        return
    seen = [card.index for card in found]
    assert len(seen) == len(set(seen))
    for card in judged(found, server_version=LATEST, visible_devices="0"):
        json.dumps(asdict(card)).encode()
        texts = [card.name, card.uuid, card.driver, card.unusable_reason]
        texts += [p.name for p in card.processes]
        assert all(t is None or t.isprintable() for t in texts)  # half characters are not, either
        sizes = [card.memory_total_bytes, card.memory_free_bytes, card.memory_reserved_bytes]
        sizes += [card.bandwidth_bytes_per_s, card.pcie_generation, card.pcie_width]
        assert all(s is None or (type(s) is int and 0 <= s < 2**63) for s in sizes)
        total = card.memory_total_bytes
        assert total is None or all(s is None or s <= total for s in sizes[1:3])
        assert card.usable == (card.unusable_reason is None)
        assert all(type(p.pid) is int and p.pid > 0 for p in card.processes)
        assert len({p.pid for p in card.processes}) == len(card.processes)


hostile = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**90)
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        ["00000000:01:00.0", "8.9", "\ud800", "\x1b[2J", "GB10", "MIG-1", "9" * 5000]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["pid", "bytes", "name", "handle", "memory"]), inner)
    ),
    max_leaves=6,
)
FIELDS = [
    "name", "uuid", "total", "free", "reserved", "capability", "bus_width", "clock_mhz", "pci",
    "pcie_generation", "pcie_width", "ecc", "virtualization", "processes", "codes", "slices",
]  # fmt: skip
gpu = st.dictionaries(st.sampled_from(FIELDS), hostile) | hostile
answers = st.fixed_dictionaries(
    {},
    optional={
        "gpus": st.lists(gpu, max_size=4) | hostile,
        **dict.fromkeys(("driver", "code", "fault", "binding", "library", "installed"), hostile),
    },
)
by_chance = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@by_chance
@given(said=answers)
def test_no_answer_makes_the_probe_raise(box: Box, said: dict[str, Any]) -> None:
    box.answer("nvml", json.dumps(said))
    sound(box.root)


@by_chance
@given(said=st.binary(max_size=300), place=st.integers(0, 200))
def test_no_bytes_make_the_probe_raise(box: Box, said: bytes, place: int) -> None:
    good = json.dumps({"gpus": [{"name": "x", "total": 5}], "driver": "570.86"}).encode()
    box.answer("nvml", good[:place] + said + good[place:])
    sound(box.root)


@by_chance
@given(said=st.binary(max_size=60), where=st.integers(0, 7))
def test_no_file_makes_the_probe_raise(box: Box, said: bytes, where: int) -> None:
    pci = "/sys/bus/pci/devices/0000:01:00.0"
    files = [
        *(f"{pci}/{name}" for name in ("vendor", "class", "device")),
        "/proc/driver/nvidia/version",
        "/etc/nv_tegra_release",
        "/proc/device-tree/model",
        "/proc/meminfo",
        "/proc/5/comm",
    ]
    for name, text in zip(files, ("0x10de", "0x030000", "0x1", *MODULES, "", "x"), strict=True):
        box.file(name, text)
    box.file("/etc/nv_tegra_release", "# R36 (release)")
    box.file(files[where], said)
    for code in (0, 12, 18):
        held = {"name": "Orin", "processes": [{"pid": 5}]}
        box.answer("nvml", json.dumps({"code": code, "gpus": [held]}))
        sound(box.root)


LIES: list[dict[str, Any]] = [
    {"total": True, "free": True, "pcie_width": True},
    {"total": 10, "free": 11, "reserved": 12},
    {"total": 2**64},
    {"total": -1, "free": -1},
    {"total": 1.5, "bus_width": 10**30, "clock_mhz": 10**30},
    {"name": "\x1b[2J\ud800", "uuid": "\x1b[2J\ud800"},
    {"processes": [{"pid": 5, "name": "\x1b[2J\ud800"}, {"pid": 5}, {"pid": True}, {"pid": 0}]},
]


@pytest.mark.parametrize("lie", LIES, ids="-".join)
def test_a_lie_is_not_passed_on(box: Box, lie: dict[str, Any]) -> None:
    box.answer("nvml", json.dumps({"gpus": [{"name": "x", "total": 5} | lie]}))
    sound(box.root)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[" * 100_000,
        "null",
        "[]",
        "7",
        '"x"',
        "{}",
        '{"gpus": null}',
        '{"gpus": [null, 1, []]}',
    ],
    ids=lambda said: re.sub(r"\W", "", said)[:9] or "signs",
)
def test_an_answer_of_the_wrong_shape_is_an_answer_with_a_reason(box: Box, said: str) -> None:
    box.answer("nvml", said)
    plug(box, "0000:01:00.0")
    sound(box.root)
