import os
import struct
from pathlib import Path
from typing import Any

import pytest

from orchestrator.budget import budget
from orchestrator.fault import Fault
from orchestrator.machine import Absent, Accelerator, Machine, Memory
from orchestrator.machine_file import with_known_facts
from orchestrator.probe.amd import AmdProbe, access_text, stat_text
from orchestrator.probe.pci_names import listed_by_amd
from orchestrator.probe.sight import ANSWERS, Sight, answer_name
from orchestrator.usability import usability
from tests.probe import vendor_boxes
from tests.probe.boxes import Box
from tests.probe.vendor_boxes import GIB, MIB

RENDER = 109


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def read(box: Box, **server: Any) -> tuple[Accelerator, ...]:
    found = AmdProbe(box.sight, **server).read()
    assert not isinstance(found, Absent), found.reason
    return found


def reason(box: Box, **server: Any) -> str:
    return read(box, **server)[0].unusable_reason or ""


def test_a_card_with_all_its_facts(box: Box) -> None:
    vendor_boxes.rx_7900_xtx(box)
    assert read(box) == (
        Accelerator(
            vendor="amd",
            name="AMD Radeon RX 7900 XTX",
            index=0,
            uuid="GPU-8c6b1d8a2f3e4d5c",
            memory_total_bytes=25753026560,
            memory_free_bytes=25753026560 - 100 * MIB,
            gfx="gfx1100",
            driver="6.12.12",
            pci="0000:03:00.0",
            pcie_generation=4,
            pcie_width=16,
        ),
    )


def test_the_catalogue_knows_the_card_by_the_name_that_is_read(box: Box) -> None:
    vendor_boxes.rx_7900_xtx(box)
    assert with_known_facts(read(box)[0]).bandwidth_bytes_per_s == 960 * 10**9


def test_a_box_without_amd_is_said_to_be_one(box: Box) -> None:
    assert AmdProbe(box.sight).read() == Absent(probe="amd", reason="no AMD GPU on the PCI bus")


def test_cards_are_numbered_as_rocm_numbers_them_not_as_the_bus(box: Box) -> None:
    vendor_boxes.two_mi300x(box)
    found = read(box)
    assert [(c.index, c.pci) for c in found] == [(0, "0000:75:00.0"), (1, "0000:05:00.0")]
    assert {c.gfx for c in found} == {"gfx942"}
    assert [c.uuid for c in found] == ["GPU-0000000000000081", "GPU-0000000000000080"]


def test_an_instinct_is_known_without_the_name_of_its_socket(box: Box) -> None:
    vendor_boxes.two_mi300x(box)
    first = with_known_facts(read(box)[0])
    assert (first.name, first.bandwidth_bytes_per_s) == ("AMD Instinct MI300X", 5300 * 10**9)


def test_node_ten_comes_after_node_two(box: Box) -> None:
    vendor_boxes.two_mi300x(box)
    nodes = box.root / "sys/class/kfd/kfd/topology/nodes"
    (nodes / "1").rename(nodes / "10")
    assert [c.pci for c in read(box)] == ["0000:05:00.0", "0000:75:00.0"]


def test_a_node_without_a_render_node_is_joined_by_its_place_on_the_bus(box: Box) -> None:
    vendor_boxes.rx_7900_xtx(box)
    text = "simd_count 96\ngfx_target_version 90010\nlocation_id 768\ndomain 0\n"
    box.file("/sys/class/kfd/kfd/topology/nodes/1/properties", text)
    assert read(box)[0].gfx == "gfx90a"


def test_a_node_without_a_place_on_the_bus_is_joined_by_its_render_node(box: Box) -> None:
    vendor_boxes.rx_7900_xtx(box)
    vendor_boxes.kfd(box, "90010 128 0")
    assert read(box)[0].gfx == "gfx90a"


def test_a_node_that_seems_to_be_two_cards_is_counted_once(box: Box) -> None:
    vendor_boxes.two_mi300x(box)
    vendor_boxes.kfd(box, "90402 128 29952", "90402 129 1280")
    assert len({c.index for c in read(box)}) == 2


def test_a_link_that_the_kernel_does_not_know_is_unknown(box: Box) -> None:
    vendor_boxes.rx_7900_xtx(box)
    folder = "/sys/bus/pci/devices/0000:03:00.0"
    box.file(f"{folder}/max_link_speed", "Unknown\n")
    box.file(f"{folder}/max_link_width", "255\n")
    (card,) = read(box)
    assert (card.pcie_generation, card.pcie_width) == (None, None)


def test_a_card_that_is_split_into_partitions_is_not_planned_for(box: Box) -> None:
    vendor_boxes.two_mi300x(box)
    vendor_boxes.kfd(box, "90402 129 29952", "90402 130 29952", "90402 128 1280")
    split, whole = read(box)
    assert "2 partitions" in (split.unusable_reason or "")
    assert (whole.index, whole.usable) == (2, True)


@pytest.mark.parametrize(
    ("override", "version", "told"),
    [
        pytest.param(None, "0.33.0", "gfx1031 is not among", id="without"),
        pytest.param("10.3.0", "0.33.0", None, id="as-gfx1030"),
        pytest.param(None, "0.9.3", "ROCm 6 build", id="0.9.3-without"),
        pytest.param("10.3.0", "0.9.3", None, id="0.9.3-as-gfx1030"),
    ],
)
def test_an_unsupported_card_runs_when_the_server_calls_it_another(
    box: Box, override: str | None, version: str, told: str | None
) -> None:
    vendor_boxes.rx_6700_xt(box)
    found = usability(read(box)[0], server_version=version, gfx_override=override)
    assert (found is None) if told is None else (found is not None and told in found.text)


def test_a_gpu_in_a_processor_has_the_pool_that_it_borrows_from(box: Box) -> None:
    vendor_boxes.ryzen_7840u(box)
    (gpu,) = read(box)
    assert (gpu.name, gpu.gfx) == ("AMD Phoenix1", "gfx1103")
    assert (gpu.memory_total_bytes, gpu.unified_memory) == (15 * GIB, True)
    assert gpu.memory_free_bytes == 15 * GIB - 50 * MIB
    assert usability(gpu, server_version="0.33.0") is not None


@pytest.mark.parametrize(
    ("own", "lent", "borrows"),
    [
        pytest.param(4 * GIB, 16 * GIB, True, id="four-times-as-much"),
        pytest.param(4 * GIB, 16 * GIB - 1, False, id="less-than-four-times"),
        pytest.param(5 * GIB, 64 * GIB, False, id="a-large-share-is-used-as-it-is"),
        pytest.param(512 * MIB, 7 * GIB, False, id="too-little-to-borrow"),
    ],
)
def test_ollamas_rule_tells_which_pool_counts(box: Box, own: int, lent: int, borrows: bool) -> None:
    vendor_boxes.ryzen_7840u(box)
    folder = "/sys/bus/pci/devices/0000:c1:00.0"
    box.file(f"{folder}/mem_info_vram_total", own)
    box.file(f"{folder}/mem_info_gtt_total", lent)
    (gpu,) = read(box)
    assert gpu.unified_memory is borrows
    assert gpu.memory_total_bytes == (lent if borrows else own)


def test_a_small_card_in_a_large_box_is_no_gpu_of_a_processor(box: Box) -> None:
    ids = "0x030000 0x1002 0x743f 0xc1"
    maker = {"mem_info_vram_vendor": "samsung"}
    vendor_boxes.amd(box, "0000:03:00.0", ids, 128, 4 * GIB, 64 * GIB, **maker)
    (card,) = read(box)
    assert (card.memory_total_bytes, card.unified_memory) == (4 * GIB, False)


def planned(gpu: Accelerator, host_bytes: int) -> int:
    memory = Memory(total_bytes=host_bytes, available_bytes=host_bytes)
    return budget(Machine(memory=memory, accelerators=(gpu,)), None).cards[0].budget_bytes


def test_strix_halo_with_a_small_share_is_planned_from_the_host(box: Box) -> None:
    vendor_boxes.strix_halo(box)
    (gpu,) = read(box)
    assert (gpu.memory_total_bytes, gpu.unified_memory, gpu.usable) == (62 * GIB, True, True)
    assert usability(gpu, server_version="0.33.0") is None
    assert planned(gpu, 125 * GIB) == 62 * GIB  # what the driver lends
    assert planned(gpu, 32 * GIB) == 28 * GIB  # what the host has


def test_strix_halo_with_a_large_share_has_memory_of_its_own(box: Box) -> None:
    vendor_boxes.strix_halo(box, vram=96 * GIB, gtt=16 * GIB)
    (gpu,) = read(box)
    assert (gpu.memory_total_bytes, gpu.unified_memory) == (96 * GIB, False)
    assert usability(gpu, server_version="0.33.0") is None
    assert planned(gpu, 31 * GIB) > 90 * GIB


def test_a_mi300a_is_one_pool_with_its_processor(box: Box) -> None:
    vendor_boxes.mi300a(box)
    (gpu,) = read(box)
    assert (gpu.memory_total_bytes, gpu.unified_memory) == (128 * GIB, True)
    assert usability(gpu, server_version="0.33.0") is None


def test_a_container_without_kfd_says_what_to_start_it_with(box: Box) -> None:
    vendor_boxes.container_without_kfd(box)
    (card,) = read(box)
    assert card.name == "AMD Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M"
    assert "--device /dev/kfd" in (card.unusable_reason or "")


def test_a_container_without_the_render_node_says_so(box: Box) -> None:
    vendor_boxes.rx_7900_xtx(box)
    (box.root / ANSWERS / answer_name("stat /dev/dri/renderD128")).unlink()
    assert "no /dev/dri/renderD128" in reason(box)


@pytest.mark.parametrize(
    ("mode", "server", "usable"),
    [
        pytest.param("0660 0 109", {}, True, id="nobody-knows-who-the-server-is"),
        pytest.param("0660 990 109", {"uid": 0, "groups": frozenset()}, True, id="root"),
        pytest.param("0660 0 109", {"uid": 990}, True, id="groups-unknown"),
        pytest.param("0660 0 109", {"uid": 990, "groups": frozenset({RENDER})}, True, id="member"),
        pytest.param("0660 0 109", {"uid": 990, "groups": frozenset({44})}, False, id="stranger"),
        pytest.param("0666 0 109", {"uid": 990, "groups": frozenset()}, True, id="open-to-all"),
        pytest.param("0606 0 109", {"uid": 9, "groups": frozenset({RENDER})}, False, id="not-them"),
        pytest.param(
            "0640 0 109", {"uid": 9, "groups": frozenset({RENDER})}, False, id="read-only"
        ),
        pytest.param("0600 990 109", {"uid": 990, "groups": frozenset()}, True, id="owner"),
        pytest.param("rubbish", {"uid": 990, "groups": frozenset()}, True, id="unreadable"),
    ],
)
def test_the_server_must_be_let_in_by_kfd(
    box: Box, mode: str, server: dict[str, Any], usable: bool
) -> None:
    vendor_boxes.rx_7900_xtx(box)
    vendor_boxes.opened(box, mode=mode)
    box.answer("stat /dev/dri/renderD128", "0666 0 109")
    (card,) = read(box, **server)
    assert card.usable is usable
    assert usable or "groups render and video" in (card.unusable_reason or "")


def test_the_server_must_be_let_in_by_the_render_node_too(box: Box) -> None:
    vendor_boxes.rx_7900_xtx(box)
    box.answer("stat /dev/kfd", "0666 0 109")
    assert "/dev/dri/renderD128 (mode 0660, group 109)" in reason(box, uid=9, groups=frozenset())


@pytest.mark.parametrize(
    ("driver", "told"),
    [
        pytest.param("radeon", "too old for ROCm", id="radeon"),
        pytest.param("vfio-pci", "virtual machine", id="passed-on"),
        pytest.param("odd\nname", r"its driver is odd\nname", id="another"),
        pytest.param(None, "modprobe amdgpu", id="none"),
    ],
)
def test_another_driver_than_amdgpu_is_named(box: Box, driver: str | None, told: str) -> None:
    vendor_boxes.pci(box, "0000:01:00.0", "0x030000 0x1002 0x6819 0x00", driver)
    vendor_boxes.opened(box)
    assert told in reason(box)


def test_a_card_that_rocm_does_not_list_comes_after_those_that_it_lists(box: Box) -> None:
    vendor_boxes.two_mi300x(box)
    vendor_boxes.kfd(box, "90402 129 29952")
    (box.root / "sys/class/kfd/kfd/topology/nodes/2/properties").unlink()
    listed, left_out = read(box)
    assert (listed.pci, listed.index, listed.usable) == ("0000:75:00.0", 0, True)
    assert "does not list it" in (left_out.unusable_reason or "")


def test_a_card_that_no_list_knows_is_named_by_its_architecture(box: Box) -> None:
    vendor_boxes.rx_7900_xtx(box)
    (box.root / ANSWERS / answer_name("pci-name 1002:744c:c8")).unlink()
    assert read(box)[0].name == "AMD GPU (gfx1100)"


def test_what_the_probe_read_replays_to_the_same_cards(box: Box, tmp_path: Path) -> None:
    vendor_boxes.two_mi300x(box)
    first = read(box)
    paths = [p for p in box.seen if p.startswith("/")]
    again = Box(tmp_path / "again")
    for path in paths:
        again.file(path, box.seen[path])
    for path in (p.removeprefix("-> ") for p in box.seen if p.startswith("-> ")):
        again.link(path, box.seen[f"-> {path}"])
    vendor_boxes.opened(again, 128, 129)
    assert read(again) == first


def test_a_file_of_this_box_is_told_by_mode_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "device"
    path.touch()
    path.chmod(0o640)
    assert stat_text(str(path)) == f"0640 {os.getuid()} {path.stat().st_gid}"
    assert stat_text(str(tmp_path / "none")) is None


def test_an_access_list_is_told_beside_the_mode_that_hides_it(tmp_path: Path) -> None:
    path = tmp_path / "device"
    path.touch()
    path.chmod(0o600)
    assert not (stat_text(str(path)) or "").endswith("acl")
    let_in(path, 12345)
    assert (stat_text(str(path)) or "").endswith(" acl")


def let_in(path: Path, user: int) -> None:
    """Give one more user a file, as udev gives a device to whoever sits before the screen."""
    nobody = 2**32 - 1
    # Tag, rights, number: the owner, that user, the group, the mask, all others.
    entries = [(1, 6, nobody), (2, 6, user), (4, 0, nobody), (16, 6, nobody), (32, 0, nobody)]
    text = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)
    os.setxattr(path, "system.posix_acl_access", text)


def test_what_we_may_open_is_asked_of_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "device"
    path.touch()
    assert access_text(str(path)) == "yes"
    assert access_text(str(tmp_path / "none")) == "no"


@pytest.mark.parametrize(
    ("stat", "access", "usable"),
    [
        pytest.param("0660 0 109", None, False, id="only-the-mode"),
        pytest.param("0660 0 109 acl", None, True, id="somebody-has-more-rights"),
        pytest.param("0660 0 109 acl", "yes", True, id="it-is-us"),
        pytest.param("0660 0 109 acl", "no", False, id="it-is-not-us"),
        pytest.param("0666 0 109", "no", False, id="the-kernel-knows-better"),
        pytest.param("0660 0 109", "rubbish", False, id="no-answer"),
    ],
)
def test_rights_that_no_mode_shows_let_the_server_in(
    box: Box, stat: str, access: str | None, usable: bool
) -> None:
    vendor_boxes.rx_7900_xtx(box)
    vendor_boxes.opened(box, mode="0666 0 109")
    box.answer("stat /dev/dri/renderD128", "0666 0 109")
    box.answer("stat /dev/kfd", stat)
    if access is not None:
        box.answer("access /dev/kfd", access)
    (card,) = read(box, uid=990, groups=frozenset({44}))
    assert card.usable is usable
    assert usable or card.remedy == "add it to the groups render and video, and restart the server"


OURS = frozenset({os.getegid(), *os.getgroups()})


@pytest.mark.parametrize(
    ("uid", "groups", "asked"),
    [
        pytest.param(os.geteuid(), OURS, True, id="we-ourselves"),
        pytest.param(os.geteuid(), None, True, id="our-user"),
        pytest.param(os.geteuid(), OURS | {99999}, False, id="our-user-with-other-groups"),
        pytest.param(os.geteuid() + 1, OURS, False, id="another-user"),
        pytest.param(None, None, False, id="nobody-knows-who"),
    ],
)
def test_the_kernel_is_asked_only_where_the_servers_rights_are_ours(
    uid: int | None, groups: frozenset[int] | None, asked: bool
) -> None:
    seen: dict[str, str] = {}
    refused = AmdProbe(Sight(seen=seen), groups=groups, uid=uid).refused(
        "/dev/null", missing=Fault("none")
    )
    assert refused is None
    assert seen.get("$ access /dev/null") == ("yes" if asked else None)


def test_amds_list_is_read_by_device_and_revision(tmp_path: Path) -> None:
    path = tmp_path / "amdgpu.ids"
    path.write_text("# List\n1.0.0\n73DF,\tC0,\tAMD Radeon RX 6750 XT\n73DF,\tC1,\tAMD 6700 XT\n")
    assert listed_by_amd("73df", "c1", (tmp_path / "none", path)) == "AMD 6700 XT"
    assert listed_by_amd("73df", "c2", (path,)) is None
