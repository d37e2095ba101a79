"""Every reason that a probe or a rule can give is told as a finding, and what to do about it."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import Absent, Accelerator, ServerSettings
from orchestrator.units import GIB
from tests.doctor.cards import SERVER, box_with, card, checks, read
from tests.probe import vendor_boxes
from tests.probe.boxes import Box
from tests.probe.nvidia_boxes import MODULES, plug

VERBS = frozenset({
    "add", "attach", "check", "give", "install", "keep", "make", "nothing", "reboot", "reinstall",
    "restart", "see", "set", "start", "take", "upgrade", "use",
})  # fmt: skip


def nvml(**said: Any) -> Callable[[Box], object]:
    return lambda box: box.answer("nvml", json.dumps(said))


def codes(box: Box) -> None:
    """Cards that fail in every way that NVML has for one card, and two that only the bus has."""
    fails = [{"handle": code} for code in (4, 8, 11, 15, 16, 17, 27, 999)]
    fails += [{"memory": code} for code in (15, 16, 999)]
    cards: list[dict[str, Any]] = [
        {"pci": f"00000000:{n:02x}:00.0", "codes": each} for n, each in enumerate(fails, start=16)
    ]
    whole: dict[str, Any] = {"name": "H100", "total": 80 * GIB, "free": 70 * GIB, "slices": []}
    cards.append(whole | {"pci": "00000000:f0:00.0"})
    cards.append(whole | {"pci": "00000000:f1:00.0", "slices": [{"name": "slice", "total": GIB}]})
    box.answer("nvml", json.dumps({"driver": "570.86", "gpus": cards}))
    for each in cards:
        plug(box, str(each["pci"]).removeprefix("0000"))
    for number, driver in enumerate(("nvidia", "nouveau", "vfio-pci", "pci-stub", None)):
        plug(box, f"0000:0{number}:00.0", driver=driver)


def mismatch(box: Box) -> None:
    box.file("/proc/driver/nvidia/version", MODULES[0])
    library = "/usr/lib/libnvidia-ml.so.550.90.07"
    told = {"code": 18, "library": library, "installed": ["535.183.01", "550.90.07"]}
    box.answer("nvml", json.dumps(told))


def jetson(board: str) -> Callable[[Box], object]:
    def build(box: Box) -> None:
        box.file("/etc/nv_tegra_release", "# R32 (release), REVISION: 7.1\n")
        box.file("/proc/device-tree/model", f"NVIDIA Jetson {board} Developer Kit\0")
        box.answer("nvml", '{"code": 12, "fault": ""}')

    return build


def amd_driver(driver: str | None) -> Callable[[Box], object]:
    def build(box: Box) -> None:
        vendor_boxes.pci(box, "0000:01:00.0", "0x030000 0x1002 0x6819 0x00", driver)
        vendor_boxes.opened(box)

    return build


def amd_partitions(box: Box) -> None:
    vendor_boxes.two_mi300x(box)
    vendor_boxes.kfd(box, "90402 129 29952", "90402 130 29952")
    vendor_boxes.opened(box, 128, 129, mode="0666 0 109")


def amd_without_render_node(box: Box) -> None:
    vendor_boxes.rx_7900_xtx(box)
    box.answer("stat /dev/kfd", "0666 0 109")
    (box.root / "answers" / "stat %2Fdev%2Fdri%2FrenderD128").unlink()


def strange_mac(box: Box) -> None:
    box.answer("uname", "Darwin arm64")
    box.answer("sysctl", "fault: sysctl failed (exit 1): it printed nothing")


def several(box: Box) -> None:
    for number, driver in enumerate(("vfio-pci", "nouveau", "nouveau")):
        plug(box, f"0000:d{number}:00.0", driver=driver)


BOXES: dict[str, Callable[[Box], object]] = vendor_boxes.BOXES | {
    "each-code-of-a-card": codes,
    "mismatch": mismatch,
    "elf-class": nvml(code=12, fault="libnvidia-ml.so.1: wrong ELF class: ELFCLASS32"),
    "import": nvml(binding="cannot be imported (ImportError: cannot import name: no x)"),
    "old-binding": nvml(code=999, binding="(/lib/pynvml.py) is older than nvidia-ml-py 12"),
    "hangs": lambda box: box.answer("nvml", "fault: python3 did not answer within 10 s"),
    "no-json": lambda box: box.answer("nvml", "Segmentation: fault"),
    "jetson-xavier": jetson("Xavier NX"),
    "jetson-tx2": jetson("TX2"),
    "amd-radeon": amd_driver("radeon"),
    "amd-given-away": amd_driver("vfio-pci"),
    "amd-another": amd_driver("pci-stub"),
    "amd-without-driver": amd_driver(None),
    "amd-partitions": amd_partitions,
    "amd-without-render-node": amd_without_render_node,
    "a-mac": strange_mac,
} | {f"init-{code}": nvml(code=code) for code in (4, 8, 9, 12, 13, 17, 18, 27, 999)}  # fmt: skip
AROUND: dict[str, Callable[[Box], object]] = {
    "alone": lambda box: box,
    "wsl": lambda box: box.file("/dev/dxg", ""),
    "nvidia": lambda box: plug(box, "0000:d1:00.0"),
    "nouveau": lambda box: plug(box, "0000:d1:00.0", driver="nouveau"),
    "vfio": lambda box: plug(box, "0000:d1:00.0", driver="vfio-pci"),
    "several": several,
}
ODD = (
    card(compute_capability="3.5"),
    card(driver="470.1"),
    card(driver="560.1", compute_capability="6.1"),
    card(memory_total_bytes=None, memory_free_bytes=None),
    card(memory_total_bytes=0, memory_free_bytes=0),
    card(vendor="amd", gfx="gfx1031"),
    card(vendor="amd", gfx="gfx803"),
    card(vendor="amd", gfx="gfx1150", unified_memory=True),
    card(vendor="ascend"),
    card(vendor="other"),
    card(vendor="intel"),
)
SERVERS = {
    "newest": SERVER,
    "oldest": replace(SERVER, version="0.9.3"),
    "embedded": replace(SERVER, version="0.9.3", runtime="embedded"),
    "masked": replace(
        SERVER, settings=ServerSettings(visible_devices="MIG-x: y", amd_visible_devices="")
    ),
}


def findings(tmp_path: Path) -> Iterator[tuple[str, list[Accelerator | Absent]]]:
    for name, build in BOXES.items():
        for number, around in AROUND.items():
            box = Box(tmp_path / name / number)
            build(box)
            around(box)
            yield f"{name} {number}", read(box)
    for odd in ODD:
        yield "odd", [odd]


def test_each_reason_is_told_as_a_finding_and_what_to_do_about_it(tmp_path: Path) -> None:
    seen = set()
    for name, found in findings(tmp_path):
        for server in SERVERS.values():
            machine = box_with(*found, server=server)
            told = [(a.unusable_reason, a.remedy) for a in machine.accelerators if not a.usable]
            told += [(a.reason, a.remedy) for a in machine.absent if a.present]
            for reason, remedy in told:
                assert reason, name
                assert remedy is None or reason.endswith(f": {remedy}"), (name, reason, remedy)
            for check in (c for c in checks(machine) if c.outcome != "pass"):
                assert check.remedy
                seen.add((check.detail, check.remedy))
    for detail, remedy in seen:
        assert remedy not in detail
        assert not detail.endswith((":", ",", ";", " ")), detail
        for text in (detail, remedy):
            assert text.count("(") == text.count(")"), text
            assert text.count("`") % 2 == 0, text
        first = re.match(r"`[a-z]|[a-z]+", remedy)
        assert first, remedy
        assert first[0].startswith("`") or first[0] in VERBS, remedy
    assert len({remedy for _, remedy in seen}) > 25, "the table covers the probes"


@pytest.mark.parametrize(
    ("build", "around", "detail", "remedy"),
    [
        pytest.param(
            codes, "alone", "at 0000:00:00.0: it is on the PCI bus", "reboot", id="off-the-bus"
        ),
        pytest.param(
            BOXES["init-12"], "nouveau", "no driver library", "keep nouveau from loading; install",
            id="nouveau",
        ),
        pytest.param(
            BOXES["elf-class"], "nvidia", "wrong ELF class: ELFCLASS32", "reinstall", id="elf"
        ),
        pytest.param(BOXES["import"], "nvidia", "name: no x)", "`pip uninstall", id="pynvml"),
        pytest.param(mismatch, "alone", "module 550.54.14", "reboot", id="mismatch"),
    ],
)  # fmt: skip
def test_a_finding_stays_out_of_the_remedy(
    tmp_path: Path, build: Callable[[Box], object], around: str, detail: str, remedy: str
) -> None:
    box = Box(tmp_path)
    build(box)
    AROUND[around](box)
    found = [c for c in checks(box_with(*read(box))) if detail in c.detail]
    assert found
    assert all((c.remedy or "").startswith(remedy) and c.outcome == "fail" for c in found)


def test_a_card_that_was_given_to_a_virtual_machine_is_nothing_to_mend(tmp_path: Path) -> None:
    box = Box(tmp_path)
    BOXES["init-12"](box)
    AROUND["vfio"](box)
    (check,) = checks(box_with(*read(box)))
    assert check.outcome == "warn"
    assert "virtual machine), no driver library (libnvidia-ml.so.1)" in check.detail
    assert (check.remedy or "").startswith("nothing mends it")
