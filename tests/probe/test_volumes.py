"""Mounts and kinds of disks, of captured boxes and of this one."""

import os
import random
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from orchestrator.machine import DiskKind
from orchestrator.probe import volumes
from orchestrator.probe.sight import Sight
from orchestrator.probe.volumes import Mount, kind_of, mount_of, mounts, others, room_at
from tests.probe.boxes import Box

NVME = "devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1"
SATA = "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda"
NUMBERS = count(30)
ROOM = "frsize 4096 bavail {blocks} files 9 favail 8 flag {flag}"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def mountinfo(box: Box, *lines: str) -> tuple[Mount, ...]:
    box.file("/proc/self/mountinfo", "\n".join(lines) + "\n")
    return mounts(box.sight)


def line(
    point: str,
    filesystem: str,
    source: str,
    device: str = "8:1",
    root: str = "/",
    numbers: str | None = None,
) -> str:
    """Return a line of a mount on the root, number 1, or with `numbers`: its own, and below it."""
    numbers = numbers or ("1 0" if point == "/" else f"{next(NUMBERS)} 1")
    return f"{numbers} {device} {root} {point} rw,relatime shared:1 - {filesystem} {source} rw"


def disk(box: Box, device: str, folder: str, rotational: int | None = None) -> None:
    """Add a disk: its number and its name lead to its folder below /sys."""
    for place in (f"dev/block/{device}", f"class/block/{Path(folder).name}"):
        box.link(f"/sys/{place}", f"../../{folder}")
    if rotational is not None:
        box.file(f"/sys/{folder}/queue/rotational", f"{rotational}\n")


def slave(box: Box, folder: str, below: str) -> None:
    box.link(f"/sys/{folder}/slaves/{Path(below).name}", f"/sys/{below}")


def partition(box: Box, device: str, folder: str) -> None:
    disk(box, device, folder)
    box.file(f"/sys/{folder}/partition", "1\n")


def mount(filesystem: str = "ext4", source: str = "/dev/sda1", device: str = "8:1") -> Mount:
    return Mount(point="/srv", device=device, filesystem=filesystem, source=source)


@pytest.mark.parametrize(
    ("path", "point"),
    [
        pytest.param("/srv/models", "/srv", id="below"),
        pytest.param("/srv", "/srv", id="the-point-itself"),
        pytest.param("/srv/big/x", "/srv/big", id="the-longest-wins"),
        pytest.param("/srvice", "/", id="a-longer-name-is-no-folder-below"),
        pytest.param("/with a space/x", "/with a space", id="escaped"),
    ],
)
def test_which_mount_a_path_lies_on(box: Box, path: str, point: str) -> None:
    found = mountinfo(
        box,
        line("/srv/big", "xfs", "/dev/sdb1", "8:17", numbers="3 2"),
        line("/", "ext4", "/dev/sda2", "8:2"),
        line("/srv", "ext4", "/dev/sda1", numbers="2 1"),
        line(r"/with\040a\040space", "ext4", "/dev/sdc1", "8:33"),
    )
    on = mount_of(path, found)
    assert on
    assert on.point == point


def test_of_two_mounts_over_one_point_the_later_is_seen(box: Box) -> None:
    disk_of_it = line("/srv", "ext4", "/dev/sda1", numbers="2 1")
    for numbers in ("3 2", "3 1"):
        found = mountinfo(box, disk_of_it, line("/srv", "nfs4", "nas:/m", "0:50", numbers=numbers))
        assert [each.filesystem for each in found] == ["nfs4"]
    upside_down = line("/srv", "nfs4", "nas:/m", "0:50", numbers="3 2")
    assert [m.filesystem for m in mountinfo(box, upside_down, disk_of_it)] == ["nfs4"]


def test_a_mount_that_a_later_one_above_it_hides_holds_nothing(box: Box) -> None:
    found = mountinfo(
        box,
        line("/proc", "proc", "proc", "0:21", numbers="4 1"),
        line("/", "ext4", "/dev/sda2", "8:2", numbers="1 0"),
        line("/mnt/a", "ext4", "/dev/sdb1", "8:17", numbers="5 1"),
        line("/mnt/a/b", "ext4", "/dev/sdd1", "8:49", numbers="6 5"),
        line("/mnt", "nfs4", "nas:/all", "0:50", numbers="7 1"),
        line("/mnt/c", "ext4", "/dev/sdc1", "8:33", numbers="8 7"),
    )
    assert [each.point for each in found] == ["/proc", "/", "/mnt", "/mnt/c"]
    on = mount_of("/mnt/a/b/models", found)
    assert on
    assert on.filesystem == "nfs4"


def test_what_lies_on_a_mount_goes_with_it_when_another_takes_its_place(box: Box) -> None:
    found = mountinfo(
        box,
        line("/mnt", "ext4", "/dev/sda1", numbers="2 1"),
        line("/mnt/a", "ext4", "/dev/sdb1", "8:17", numbers="3 2"),
        line("/mnt", "nfs4", "nas:/all", "0:50", numbers="4 2"),
    )
    assert [(each.point, each.filesystem) for each in found] == [("/mnt", "nfs4")]


def test_the_first_root_of_all_lies_on_itself(box: Box) -> None:
    first = line("/", "rootfs", "rootfs", "0:1", numbers="1 1")
    assert [each.filesystem for each in mountinfo(box, first)] == ["rootfs"]
    found = mountinfo(box, first, line("/", "ext4", "/dev/sda1", numbers="27 1"))
    assert [each.filesystem for each in found] == ["ext4"]


def test_lines_with_more_or_fewer_optional_fields_are_read(box: Box) -> None:
    found = mountinfo(
        box,
        "30 1 8:1 / /a rw - ext4 /dev/sda1 rw",
        "31 1 8:2 / /b rw shared:1 master:2 propagate_from:3 - xfs /dev/sda2 rw",
        "32 1 8:3 / /torn rw",
        "",
    )
    assert [(each.point, each.filesystem) for each in found] == [("/a", "ext4"), ("/b", "xfs")]


@pytest.mark.parametrize(
    ("folder", "rotational", "kind"),
    [
        pytest.param(NVME, 0, "nvme", id="nvme"),
        pytest.param(SATA, 0, "ssd", id="sata-ssd"),
        pytest.param(SATA, 1, "hdd", id="sata-hdd"),
        pytest.param(SATA, None, None, id="untold"),
        pytest.param(SATA, 7, None, id="neither"),
        pytest.param("devices/pci0000:00/virtio1/block/vda", 1, None, id="a-hypervisors-virtio"),
        pytest.param("devices/pci0/virtio3/host2/target2:0:0/block/sda", 1, None, id="virtio-scsi"),
        pytest.param("devices/vbd-768/block/xvda", 1, None, id="xen"),
        pytest.param("devices/virtual/block/loop3", 1, None, id="a-file-behind-a-loop"),
        pytest.param("devices/virtual/block/zram0", 0, "memory", id="compressed-memory"),
        pytest.param("devices/virtual/block/nbd0", 0, "network", id="nbd"),
        pytest.param("devices/rbd/0/block/rbd0", 0, "network", id="ceph"),
        pytest.param("devices/platform/host3/session1/block/sdb", 1, "network", id="iscsi"),
        pytest.param("devices/pci0/host7/rport-7:0-2/block/sdc", 1, "network", id="fibre-channel"),
        pytest.param("devices/platform/mmc0/block/mmcblk0", 0, "ssd", id="a-card"),
    ],
)
def test_the_kind_of_a_disk(
    box: Box, folder: str, rotational: int | None, kind: DiskKind | None
) -> None:
    disk(box, "8:0", folder, rotational)
    assert kind_of(mount(device="8:0"), box.sight) == kind


@pytest.mark.parametrize(
    ("folder", "file", "text", "kind"),
    [
        pytest.param(NVME, "transport", "tcp", "network", id="nvme-over-tcp"),
        pytest.param(NVME, "transport", "pcie", "nvme", id="nvme-in-a-slot"),
        pytest.param(NVME, "model", "Amazon Elastic Block Store", "network", id="a-clouds-volume"),
        pytest.param(NVME, "model", "QEMU NVMe Ctrl", None, id="an-emulated-nvme"),
        pytest.param(SATA, "model", "VBOX HARDDISK", None, id="an-emulated-sata"),
        pytest.param(SATA, "vendor", "VMware", None, id="vmware"),
        pytest.param(SATA, "vendor", "ATA", "hdd", id="a-real-one"),
    ],
)
def test_what_a_disk_says_of_itself_counts(
    box: Box, folder: str, file: str, text: str, kind: DiskKind | None
) -> None:
    disk(box, "8:0", folder, 1)
    box.file(f"/sys/{folder}/device/{file}", f"{text}\n")
    assert kind_of(mount(device="8:0"), box.sight) == kind


def test_a_partition_lies_on_its_disk(box: Box) -> None:
    disk(box, "8:0", SATA, 1)
    partition(box, "8:1", f"{SATA}/sda1")
    assert kind_of(mount(), box.sight) == "hdd"


def test_without_its_number_a_device_is_found_by_its_name(box: Box) -> None:
    box.link("/sys/class/block/sda1", f"../../{SATA}/sda1")
    box.file(f"/sys/{SATA}/sda1/partition", "1\n")
    box.file(f"/sys/{SATA}/queue/rotational", "1\n")
    assert kind_of(mount(), box.sight) == "hdd"


def test_of_the_disks_below_a_logical_volume_the_slowest_counts(box: Box) -> None:
    """An encrypted volume over an array of a part of an NVMe disk and a whole HDD."""
    crypt, array = "devices/virtual/block/dm-1", "devices/virtual/block/md0"
    disk(box, "253:1", crypt, 0)
    disk(box, "9:0", array, 0)
    disk(box, "259:0", NVME, 0)
    partition(box, "259:1", f"{NVME}/nvme0n1p1")
    disk(box, "8:0", SATA, 1)
    slave(box, crypt, array)
    slave(box, array, f"{NVME}/nvme0n1p1")
    on = mount(source="/dev/mapper/models", device="253:1")
    assert kind_of(on, box.sight) == "nvme"
    slave(box, array, SATA)
    assert kind_of(on, box.sight) == "hdd"


def test_one_unknown_disk_makes_the_volume_unknown(box: Box) -> None:
    volume, virtual = "devices/virtual/block/dm-0", "devices/pci0/virtio1/block/vda"
    disk(box, "253:0", volume)
    disk(box, "8:0", SATA, 1)
    disk(box, "254:0", virtual, 1)
    slave(box, volume, SATA)
    slave(box, volume, virtual)
    assert kind_of(mount(device="253:0"), box.sight) is None


def test_a_volume_that_stands_on_itself_ends_the_search(box: Box) -> None:
    volume = "devices/virtual/block/dm-0"
    disk(box, "253:0", volume)
    slave(box, volume, volume)
    assert kind_of(mount(device="253:0"), box.sight) is None


def test_a_btrfs_is_as_slow_as_the_slowest_of_its_devices(box: Box) -> None:
    disk(box, "259:0", NVME, 0)
    disk(box, "8:0", SATA, 1)
    on = mount("btrfs", "/dev/nvme0n1", "0:40")
    assert kind_of(on, box.sight) == "nvme"
    for folder in (NVME, SATA):
        box.link(f"/sys/fs/btrfs/0a1b/devices/{Path(folder).name}", f"/sys/{folder}")
    box.folder("/sys/fs/btrfs/features")
    assert kind_of(on, box.sight) == "hdd"


def test_a_btrfs_behind_a_mapped_name_is_found(box: Box) -> None:
    volume = "devices/virtual/block/dm-0"
    disk(box, "253:0", volume)
    disk(box, "8:0", SATA, 0)
    slave(box, volume, SATA)
    box.link("/dev/mapper/luks-1", "../dm-0")
    assert kind_of(mount("btrfs", "/dev/mapper/luks-1", "0:40"), box.sight) == "ssd"


def test_a_zfs_pool_is_known_by_its_own_tool(box: Box) -> None:
    disk(box, "8:0", SATA, 1)
    on = mount("zfs", "tank/models", "0:41")
    assert kind_of(on, box.sight) is None
    box.answer(
        "zpool list tank", "tank\t7.2T\t1T\n\tmirror-0\t7.2T\n\t\t/dev/sda\t-\n\t\t/dev/gone\t-\n"
    )
    assert kind_of(on, box.sight) == "hdd"


@pytest.mark.parametrize(
    ("filesystem", "source", "kind"),
    [
        ("nfs4", "nas:/models", "network"),
        ("cifs", "//nas/models", "network"),
        ("fuse.sshfs", "ann@nas:/m", "network"),
        ("9p", "C:\\", "network"),
        ("tmpfs", "tmpfs", "memory"),
        ("overlay", "overlay", None),
        ("virtiofs", "models", None),
        ("bcachefs", "/dev/sda:/dev/sdb", None),
    ],
)
def test_a_file_system_without_a_disk(
    box: Box, filesystem: str, source: str, kind: DiskKind | None
) -> None:
    disk(box, "8:16", SATA.replace("sda", "sdb"), 1)
    assert kind_of(mount(filesystem, source, "0:50"), box.sight) == kind


def test_others_are_places_for_models_the_roomiest_first(box: Box) -> None:
    found = mountinfo(
        box,
        line("/", "ext4", "/dev/sda1", "8:1"),
        line("/var/lib/models", "ext4", "/dev/sda1", "8:1", root="/models"),
        line("/data", "xfs", "/dev/sdb1", "8:17"),
        line("/mnt/again", "xfs", "/dev/sdb1", "8:17", root="/again"),
        line("/nas", "nfs4", "nas:/models", "0:50"),
        line("/tank", "zfs", "tank", "0:51", numbers="2 1"),
        line("/tank/home", "zfs", "tank/home", "0:52", numbers="3 2"),
        line("/srv", "ext4", "/dev/sdc1", "8:33"),
        line("/full", "ext4", "/dev/sdd1", "8:49"),
        line("/frozen", "ext4", "/dev/sde1", "8:65"),
        line("/silent", "ext4", "/dev/sdf1", "8:81"),
        line("/boot/efi", "vfat", "/dev/sda2", "8:2", numbers="5 4"),
        line("/boot", "ext4", "/dev/sda3", "8:3", numbers="4 1"),
        line("/snap/core/1", "ext4", "/dev/sdg1", "8:97"),
        line("/mnt/image", "ext4", "/dev/loop7", "7:7"),
        line("/mnt/cd", "iso9660", "/dev/sr0", "11:0"),
        line("/run", "tmpfs", "tmpfs", "0:24"),
        line("/docker", "overlay", "overlay", "0:60"),
        line("/proc", "proc", "proc", "0:21"),
    )
    for each in found:
        name = "/" if each.point == "/" else each.point
        blocks = {"/data": 30, "/": 20, "/nas": 40, "/tank": 10, "/full": 0}.get(name, 50)
        if name != "/silent":
            box.answer(f"statvfs {name}", ROOM.format(blocks=blocks, flag=int(name == "/frozen")))
    store = mount_of("/srv/ollama", found)
    told = others(found, store, box.sight)
    assert [(each.mount, each.free_bytes) for each in told] == [
        ("/nas", 40 * 4096), ("/data", 30 * 4096), ("/", 20 * 4096), ("/tank", 10 * 4096),
    ]  # fmt: skip
    assert [each.kind for each in told] == ["network", None, None, None]
    assert [each.filesystem for each in told] == ["nfs4", "xfs", "ext4", "zfs"]


def test_the_room_of_a_folder_that_does_not_exist_is_its_parents(tmp_path: Path) -> None:
    said = os.statvfs(tmp_path)
    room = room_at(str(tmp_path / "a" / "b"), None, Sight())
    assert room
    assert abs(room.free_bytes - said.f_bavail * said.f_frsize) < 2**30
    assert not room.read_only


def test_a_parent_on_another_mount_has_another_room(box: Box) -> None:
    box.answer("statvfs /", ROOM.format(blocks=99, flag=0))
    on = mount()
    assert room_at("/srv/models", on, box.sight) is None
    box.answer("statvfs /srv", ROOM.format(blocks=2, flag=0))
    room = room_at("/srv/models", on, box.sight)
    assert room
    assert room.free_bytes == 2 * 4096


@pytest.mark.parametrize(
    ("said", "inodes", "read_only"),
    [
        ("frsize 1 bavail 1 files 0 favail 0 flag 0", None, False),
        ("frsize 1 bavail 1 files 9 favail 0 flag 0", 0, False),
        ("frsize 1 bavail 1 files 9 favail 8 flag 4097", 8, True),
    ],
)
def test_what_a_file_system_says(box: Box, said: str, inodes: int | None, read_only: bool) -> None:
    box.answer("statvfs /srv", said)
    room = room_at("/srv", mount(), box.sight)
    assert room
    assert (room.free_inodes, room.read_only) == (inodes, read_only)


@pytest.mark.parametrize(
    "said", ["", "frsize", "frsize x bavail 1 files 1 favail 1 flag 0", "frsize -1 bavail 1 flag 0"]
)
def test_what_is_no_answer_is_unknown_room(box: Box, said: str) -> None:
    box.answer("statvfs /srv", said)
    assert room_at("/srv", mount(), box.sight) is None


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """File systems whose names are added to the list answer no more."""
    silent: list[str] = []
    over, ask = threading.Event(), os.statvfs

    def statvfs(path: str) -> os.statvfs_result:
        if path in silent:
            over.wait(30)
        return ask(path)

    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(volumes, "LIMIT_S", 0.2)
    yield silent
    over.set()


def test_all_that_hang_are_waited_for_only_once(tmp_path: Path, hung: list[str]) -> None:
    points = [tmp_path / f"nas{number}" for number in range(5)]
    for point in points:
        point.mkdir()
    hung += [str(point) for point in points[:4]]
    mounted = [
        Mount(point=str(point), device=f"0:{n}", filesystem="nfs4", source="nas:/")
        for n, point in enumerate(points)
    ]
    started = time.monotonic()
    assert [each.mount for each in others(mounted, None, Sight())] == [str(points[4])]
    assert room_at(f"{points[0]}/models", mounted[0], Sight()) is None
    assert time.monotonic() - started < 2


def test_a_file_that_a_container_has_mounted_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("")
    at = Mount(point=str(tmp_path / "hosts"), device="8:1", filesystem="ext4", source="/dev/sda1")
    assert others([at], None, Sight()) == ()


def test_nothing_that_stands_in_the_files_makes_it_raise(box: Box) -> None:
    chance = random.Random(4)
    for _ in range(300):
        noise = chance.randbytes(300)
        lines = [line("/srv", "btrfs", "/dev/sda1"), line("/", "zfs", "tank/x", "0:9")]
        text = "\n".join(lines).encode()
        at = chance.randrange(len(text))
        box.file("/proc/self/mountinfo", text[:at] + noise + text[at:])
        for name in ("statvfs /srv", "statvfs /", "zpool list tank"):
            box.answer(name, noise)
        found = mounts(box.sight)
        told = others(found, mount_of("/srv/x", found), box.sight)
        assert all(each.free_bytes is None or each.free_bytes >= 0 for each in told)
        for each in found:
            kind_of(each, box.sight)


def test_this_box_has_a_root_and_its_room() -> None:
    found = mounts(Sight())
    root = mount_of("/", found)
    assert root
    assert room_at("/", root, Sight())
