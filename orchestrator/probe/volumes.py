"""The file systems of this box: where they are mounted, and what room they have."""

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.machine import DiskKind, Volume
from orchestrator.probe.block import disk_kind
from orchestrator.probe.patience import LIMIT_S, Question
from orchestrator.probe.sight import Sight, whole

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "beegfs", "gpfs",
    "glusterfs", "orangefs", "wekafs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.rclone",
    "fuse.s3fs", "fuse.juicefs", "fuse.mfs",
})  # fmt: skip
# Images that nobody writes to, and those that hold no file of 4 GiB.
_NO_PLACE = frozenset({"squashfs", "iso9660", "udf", "erofs", "cramfs", "vfat", "msdos"})
_DEEPEST = 64  # mounts upon mounts; only nonsense is deeper
_NO_PLACES = ("/boot", "/efi", "/snap", "/var/snap", "/var/lib/snapd")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A line of /proc/self/mountinfo; `device` is "259:2", `source` what was mounted there.

    `number` is its own and `over` that of the mount that it was mounted on.
    """

    point: str
    device: str
    filesystem: str
    source: str
    number: str = ""
    over: str = ""

    @property
    def pool(self) -> str:
        """What it shares its room with: mounts of one device, data sets of one ZFS pool."""
        return self.source.partition("/")[0] if self.filesystem == "zfs" else self.device

    def holds(self, path: str) -> bool:
        """Say whether a path lies at or below the mount point."""
        return _below(path, self.point)


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What a file system says of itself; `free_inodes` None: it does not count any."""

    free_bytes: int
    free_inodes: int | None
    read_only: bool


def mounts(sight: Sight) -> tuple[Mount, ...]:
    """Return the mounts that can be seen, () where the kernel tells none.

    The lines are in no order to rely on: the root often comes after what is mounted on it.
    """
    found: dict[str, Mount] = {}
    for line in sight.text("/proc/self/mountinfo").splitlines():
        said, dash, origin = line.partition(" - ")
        fields, tail = said.split(" "), origin.split(" ")
        if dash and len(fields) >= 5 and len(tail) >= 2:
            point = _plain(fields[4])
            found[fields[0]] = Mount(
                point=point,
                device=fields[2],
                filesystem=tail[0],
                source=_plain(tail[1]),
                number=fields[0],
                over=fields[1],
            )
    return _in_sight(found)


def _in_sight(by_number: Mapping[str, Mount]) -> tuple[Mount, ...]:
    """Leave out the mounts that others hide: those right over them, or over a folder above them."""
    # The first root of all is said to lie on itself.
    points = {(each.over, each.point) for each in by_number.values() if each.over != each.number}

    def buried(mount: Mount, depth: int = 0) -> bool:
        above = PurePosixPath(mount.point).parents
        if depth > _DEEPEST or any((mount.over, str(folder)) in points for folder in above):
            return True
        below = by_number.get(mount.over)
        return below is not None and below is not mount and buried(below, depth + 1)

    seen = (m for m in by_number.values() if (m.number, m.point) not in points and not buried(m))
    # Where the kernel's numbers do not tell, the later one over a point hides the earlier.
    return tuple({each.point: each for each in seen}.values())


def mount_of(path: str, mounted: Iterable[Mount]) -> Mount | None:
    """Return the mount that a path without links lies on: the one with the longest point."""
    over = (each for each in mounted if each.holds(path))
    return max(over, key=lambda each: len(each.point), default=None)


def kind_of(mount: Mount, sight: Sight) -> DiskKind | None:
    """Return the kind of disk below a mount; None: several, a hypervisor's, or not told."""
    if mount.filesystem in IN_MEMORY:
        return "memory"
    if mount.filesystem in _NETWORK:
        return "network"
    return disk_kind(mount.filesystem, mount.device, mount.source, sight)


def room_at(path: str, mount: Mount | None, sight: Sight) -> Room | None:
    """Return the room where a path is or will be; None: it is not told within 3 s.

    A folder that does not exist yet, or that we may not enter, has the room of the next one above
    it on the same mount.
    """
    until = time.monotonic() + LIMIT_S
    for folder in (PurePosixPath(path), *PurePosixPath(path).parents):
        if mount and not mount.holds(str(folder)):
            break
        if room := _room(str(folder), None, until, sight):
            return room
    return None


def others(mounted: Iterable[Mount], store: Mount | None, sight: Sight) -> tuple[Volume, ...]:
    """Return the file systems beside the store's that a model store could lie on.

    The one with the most free space first. Those that are read-only, full or silent are left out,
    and so are those in memory: a store there would take from what models need.
    """
    places: dict[str, Mount] = {}
    for each in sorted(filter(_is_place, mounted), key=lambda each: (len(each.point), each.point)):
        if store is None or each.pool != store.pool:
            places.setdefault(each.pool, each)
    until = time.monotonic() + LIMIT_S
    # All are asked at once: one silent server is waited for, and not each of them in turn.
    asked = {each.point: _asked(each.point) for each in places.values()} if sight.live else {}
    found = []
    for each in places.values():
        room = _room(each.point, asked.get(each.point), until, sight)
        if room and room.free_bytes > 0 and not room.read_only:
            kind = kind_of(each, sight)
            found.append((room.free_bytes, each.point, kind, each.filesystem))
    return tuple(
        Volume(mount=point, kind=kind, filesystem=filesystem, free_bytes=free)
        for free, point, kind, filesystem in sorted(found, key=lambda each: (-each[0], each[1]))
    )


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _plain(text: str) -> str:
    """Return a field as it is named: a space and the like are three octal digits there."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda found: chr(int(found[1], 8)), text)


def _is_place(mount: Mount) -> bool:
    on_disk = mount.source.startswith("/dev/") and not mount.source.startswith("/dev/loop")
    return (
        (on_disk or mount.filesystem == "zfs" or mount.filesystem in _NETWORK)
        and mount.filesystem not in _NO_PLACE
        and not any(_below(mount.point, folder) for folder in _NO_PLACES)
    )


def _asked(folder: str) -> Question[str]:
    def ask() -> str | None:
        if not os.path.isdir(folder):  # noqa: PTH112 - a container has single files mounted
            return None
        said = os.statvfs(folder)
        return (
            f"frsize {said.f_frsize} bavail {said.f_bavail} files {said.f_files}"
            f" favail {said.f_favail} flag {said.f_flag}"
        )

    return Question(ask)


def _room(folder: str, asked: Question[str] | None, until: float, sight: Sight) -> Room | None:
    said = sight.told(f"statvfs {folder}", lambda: (asked or _asked(folder)).answer(until))
    words = (said or "").split()
    told = {name: whole(value) for name, value in zip(words[::2], words[1::2], strict=False)}
    size, free, flag = (told.get(name) for name in ("frsize", "bavail", "flag"))
    inodes = told.get("favail") if told.get("files") else None
    if size is None or free is None or flag is None or min(size, free, inodes or 0) < 0:
        return None
    return Room(
        # f_bavail: blocks that are reserved for root, or kept by a quota, are not ours.
        free_bytes=size * free,
        # btrfs and ZFS count none; that is not the same as having none left.
        free_inodes=inodes,
        read_only=bool(flag & os.ST_RDONLY),
    )
