"""Block devices as sysfs describes them: on what kind of disk a file system lies."""

import os.path
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from orchestrator.machine import DiskKind
from orchestrator.probe.sight import Sight

# Of several disks below one file system the slowest counts: models are spread over all of them.
_WORST_FIRST: tuple[DiskKind, ...] = ("network", "hdd", "ssd", "nvme", "memory")
_DEPTH = 8  # file system, encryption, logical volume, array, partition, and room for more
_ON_A_NETWORK = ("nbd", "rbd", "drbd")
# iSCSI and Fibre Channel, as the path of a device names them.
_REMOTE_PATHS = ("/session", "/rport-")
_FABRICS = frozenset({"tcp", "rdma", "fc"})
# A hypervisor's disks: what they say of rotation is a default, and what is behind them unknown.
_VIRTUAL_PATHS = ("/virtio", "/vbd-", "/VMBUS:")
_VIRTUAL_MODELS = ("QEMU", "VBOX", "VMware", "Msft", "Virtual Disk")
_REMOTE_MODELS = ("Amazon Elastic Block Store", "PersistentDisk", "nvme_card-pd")


def disk_kind(filesystem: str, device: str, source: str, sight: Sight) -> DiskKind | None:
    """Return the kind of disk below a mount, whose device is "259:2"; None: it cannot be told.

    `source` is what was mounted: file systems that span devices have no device number of a disk.
    """
    if filesystem == "zfs":
        return _worst(_kind(each, sight) for each in _pool(source, sight))
    folder = _numbered(device, sight) or _named(source, sight)
    if folder is None or filesystem == "bcachefs":  # which spans devices as well
        return None
    spanned = _spanned(folder, sight) if filesystem == "btrfs" else ()
    return _worst(_kind(each, sight) for each in spanned or (folder,))


def _numbered(device: str, sight: Sight) -> str | None:
    # Devices of major number 0 are file systems without a disk of their own.
    return None if device.startswith("0:") else _led("/sys/dev/block", device, sight)


def _named(source: str, sight: Sight) -> str | None:
    """Return the sysfs folder of a device by its path: /dev/sda1, /dev/mapper/luks-1."""
    if not source.startswith("/dev/"):
        return None
    name = PurePosixPath(sight.link(source) or source).name
    return _led("/sys/class/block", name, sight)


def _led(folder: str, name: str, sight: Sight) -> str | None:
    """Return where the link of that name in a folder of sysfs leads; None: no such link.

    Files are read there, never through the link, so that a captured box can hold both.
    """
    said = sight.link(f"{folder}/{name}")
    return os.path.normpath(PurePosixPath(folder, said)) if said else None


def _leads(folder: str, sight: Sight) -> tuple[str, ...]:
    found = (_led(folder, name, sight) for name in sight.names(folder))
    return tuple(each for each in found if each)


def _spanned(folder: str, sight: Sight) -> tuple[str, ...]:
    """Return all devices of the btrfs that has this one."""
    for name in sight.names("/sys/fs/btrfs"):
        devices = _leads(f"/sys/fs/btrfs/{name}/devices", sight)
        if folder in devices:
            return devices
    return ()


def _pool(dataset: str, sight: Sight) -> tuple[str, ...]:
    """Return the devices of a ZFS pool: only its own tool knows them."""
    pool = dataset.partition("/")[0]
    said = sight.tool(f"zpool list {pool}", ["zpool", "list", "-vHPL", "--", pool], limit_s=2.0)
    found = (_named(each, sight) for each in re.findall(r"/dev/\S+", said.text))
    return tuple(each for each in found if each)


def _worst(kinds: Iterable[DiskKind | None]) -> DiskKind | None:
    """Return the slowest of the kinds; None: there are none, or one of them is unknown."""
    found = set(kinds)
    if None in found:
        return None
    return next((kind for kind in _WORST_FIRST if kind in found), None)


def _kind(folder: str, sight: Sight, depth: int = 0) -> DiskKind | None:
    """Return the kind of a block device: of those below it where it stands on others."""
    if depth > _DEPTH:
        return None
    if sight.exists(f"{folder}/partition"):
        folder = str(PurePosixPath(folder).parent)
    if below := _leads(f"{folder}/slaves", sight):
        return _worst(_kind(each, sight, depth + 1) for each in below)
    return _of_disk(folder, sight)


def _of_disk(folder: str, sight: Sight) -> DiskKind | None:
    name = PurePosixPath(folder).name
    model = f"{sight.text(f'{folder}/device/vendor')} {sight.text(f'{folder}/device/model')}"
    if name.startswith(("zram", "ram")):
        return "memory"
    if (
        name.startswith(_ON_A_NETWORK)
        or any(mark in folder for mark in _REMOTE_PATHS)
        or any(mark in model for mark in _REMOTE_MODELS)
        or sight.text(f"{folder}/device/transport").strip() in _FABRICS
    ):
        return "network"
    if (
        name.startswith("loop")
        or any(mark in folder for mark in _VIRTUAL_PATHS)
        or any(mark in model for mark in _VIRTUAL_MODELS)
    ):
        return None
    if name.startswith("nvme"):
        return "nvme"
    # A disk behind USB often says 1 whatever it is: then it is told as slower than it is.
    rotational = sight.number(f"{folder}/queue/rotational")
    return "hdd" if rotational == 1 else "ssd" if rotational == 0 else None
