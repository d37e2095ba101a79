"""AMD GPUs, by what the kernel's drivers tell in sysfs: no tool or library of ROCm is needed."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.fault import Fault
from orchestrator.machine import Absent, Accelerator
from orchestrator.probe.kfd import Node, gpu_nodes, nodes_of
from orchestrator.probe.pci import AMD, PciDevice, devices_of
from orchestrator.probe.pci_facts import driver_of, link_of, size_of
from orchestrator.probe.pci_names import amd_name, bracketed, pci_name, shown
from orchestrator.probe.rights import Rights
from orchestrator.probe.sight import Sight
from orchestrator.units import GIB

_KFD = "/dev/kfd"
_READ_AND_WRITE = 6
_NO_DRIVER = Fault(
    "no kernel driver is bound to it",
    "`modprobe amdgpu` (the firmware or a newer kernel may be missing)",
)
_NO_KFD = Fault(
    f"no {_KFD}: ROCm's kernel driver (part of amdgpu) is missing",
    f"`modprobe amdgpu`, or start the container with --device {_KFD} --device /dev/dri",
)
_NOT_LISTED = Fault(
    "ROCm's kernel driver does not list it: it is not supported, its slot has no PCIe atomics, or"
    " this container may not use it",
    "see what `dmesg | grep kfd` says",
)
_DRIVERS = {
    "radeon": Fault("its driver is radeon: the card is too old for ROCm, which needs amdgpu"),
    "vfio-pci": Fault("it is given to a virtual machine (its driver is vfio-pci)"),
}
_ANSWERS = {"yes": True, "no": False}
_STRIX_HALO = "gfx1151"
_MI300A = "0x74a0"
_CARVE_OUT_BYTES, _LEAST_SHARED_BYTES = 4 * GIB, 8 * GIB


@dataclass(frozen=True, slots=True)
class AmdProbe:
    """`groups` and `uid` are those of the server's user; None: unknown, not held against it."""

    sight: Sight
    groups: frozenset[int] | None = None
    uid: int | None = None
    name: str = "amd"

    def read(self) -> tuple[Accelerator, ...] | Absent:
        """Return the GPUs in ROCm's order, those that it does not list last. Never raises."""
        devices = devices_of(AMD, self.sight)
        if not devices:
            return Absent(probe=self.name, reason="no AMD GPU on the PCI bus")
        nodes, taken = gpu_nodes(self.sight), set[int]()
        found = []
        for number, device in enumerate(devices):
            of_it = nodes_of(device, frozenset(self._minors(device)), nodes)
            own = [(n, node) for n, node in of_it if n not in taken]
            taken |= {n for n, _ in own}
            index = own[0][0] if own else len(nodes) + number
            found.append(self._card(device, index, [node for _, node in own]))
        return tuple(sorted(found, key=lambda card: card.index))

    def _card(self, device: PciDevice, index: int, nodes: list[Node]) -> Accelerator:
        gfx = nodes[0].gfx if nodes else None
        fault = self._unusable(device, nodes)
        total, free, shared = _memory(device, gfx, self.sight)
        generation, width = link_of(device, self.sight)
        return Accelerator(
            vendor="amd",
            name=_name(device, gfx, self.sight),
            index=index,
            uuid=_uuid(device, self.sight),
            memory_total_bytes=total,
            memory_free_bytes=free,
            gfx=gfx,
            driver=shown(self.sight.text("/sys/module/amdgpu/version")),
            unified_memory=shared,
            pci=device.address,
            pcie_generation=generation,
            pcie_width=width,
            usable=fault is None,
            unusable_reason=fault.text if fault else None,
            remedy=fault.remedy if fault else None,
        )

    def _unusable(self, device: PciDevice, nodes: list[Node]) -> Fault | None:
        """Return what keeps the server's user from it, whatever its version of Ollama can do."""
        fault = _driver_fault(driver_of(device, self.sight))
        fault = fault or self.refused(_KFD, missing=_NO_KFD)
        if fault or not nodes:
            return fault or _NOT_LISTED
        if len(nodes) > 1:
            what = f"it is split into {len(nodes)} partitions"
            return Fault(what, "set it to SPX to use it as one GPU")
        render = (f"/dev/dri/renderD{minor}" for minor in self._minors(device))
        start = "start the container with --device /dev/dri"
        refusals = (self.refused(node, missing=Fault(f"no {node}", start)) for node in render)
        return next(filter(None, refusals), None)

    def refused(self, path: str, *, missing: Fault) -> Fault | None:
        """Return what keeps the server's user from a device file; `missing`: there is none."""
        told = self.sight.told(f"stat {path}", lambda: stat_text(path))
        if told is None:
            return missing
        found = re.fullmatch(r"([0-7]{3,5}) ([0-9]{1,10}) ([0-9]{1,10})( acl)?", told.strip())
        if not found or self._let_in(path, found):
            return None
        return Fault(
            f"the server's user may not open {path} (mode {found[1]}, group {found[3]})",
            "add it to the groups render and video, and restart the server",
        )

    def _let_in(self, path: str, stat: re.Match[str]) -> bool:
        """Say whether the server's user may read and write, where that is known."""
        tried = self.sight.told(f"access {path}", lambda: self._tried(path))
        if tried is not None and tried.strip() in _ANSWERS:
            return _ANSWERS[tried.strip()]
        if stat[4]:  # somebody has rights that the mode does not show, and who it is we do not read
            return True
        rights = Rights(self.uid, self.groups)
        mode, owner, group = int(stat[1], 8), int(stat[2]), int(stat[3])
        return rights.allow(_READ_AND_WRITE, mode=mode, owner=owner, group=group)

    def _tried(self, path: str) -> str | None:
        """Ask the kernel, which also knows the access lists that udev gives to who is logged in.

        None: the server's rights are not ours. It may have our user and not yet our groups.
        """
        ours = frozenset({os.getegid(), *os.getgroups()})
        if self.uid != os.geteuid() or self.groups not in (None, ours):
            return None
        return access_text(path)

    def _minors(self, device: PciDevice) -> list[int]:
        """Return the numbers of its render nodes: 128 for /dev/dri/renderD128."""
        names = self.sight.names(f"{device.folder}/drm")
        nodes = [name for name in names if re.fullmatch(r"renderD[0-9]{1,4}", name)]
        for node in nodes:  # read, so that a captured box has the folder
            self.sight.text(f"{device.folder}/drm/{node}/dev")
        return [int(node.removeprefix("renderD")) for node in nodes]


def stat_text(path: str) -> str | None:
    """Return the mode in octal, the owner and the group of a file of this box: "0660 0 109".

    A fourth word, "acl", says that it has an access list, of which the mode shows only the mask.
    """
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    beyond = " acl" if _has_access_list(path) else ""
    return f"{found.st_mode & 0o7777:04o} {found.st_uid} {found.st_gid}{beyond}"


def access_text(path: str) -> str:
    """Return "yes" if this very program may read and write a file of this box, else "no"."""
    effective = os.access in os.supports_effective_ids
    return "yes" if os.access(path, os.R_OK | os.W_OK, effective_ids=effective) else "no"


def _has_access_list(path: str) -> bool:
    if sys.platform != "linux":
        return False
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


def _driver_fault(driver: str | None) -> Fault | None:
    if driver == "amdgpu":
        return None
    if driver is None:
        return _NO_DRIVER
    return _DRIVERS.get(driver) or Fault(
        f"its driver is {driver}, and ROCm needs amdgpu", "give it to amdgpu"
    )


def _memory(
    device: PciDevice, gfx: str | None, sight: Sight
) -> tuple[int | None, int | None, bool]:
    """Return the total and the free bytes, and whether they are the host's memory.

    A GPU inside a processor gets a part of the memory from the firmware and borrows the rest (GTT).
    Where that part is small the kernel gives it memory from the rest: one pool with the host. A
    large part (Strix Halo) is lost to the host and is memory of its own, as on a card.
    """
    kind = "gtt" if _borrows(device, gfx, sight) else "vram"
    total = size_of(f"{device.folder}/mem_info_{kind}_total", sight)
    used = size_of(f"{device.folder}/mem_info_{kind}_used", sight)
    free = None if total is None or used is None else max(0, total - used)
    # An MI300A has no memory but the processor's, and reports it as its own.
    return total, free, kind == "gtt" or device.device == _MI300A


def _borrows(device: PciDevice, gfx: str | None, sight: Sight) -> bool:
    # A card's memory chips have a maker, and cards of late kernels a board; processors have none.
    maker = sight.text(f"{device.folder}/mem_info_vram_vendor").strip().lower()
    if maker not in ("", "unknown") or sight.text(f"{device.folder}/board_info"):
        return False
    own = size_of(f"{device.folder}/mem_info_vram_total", sight)
    shared = size_of(f"{device.folder}/mem_info_gtt_total", sight)
    if own is None or shared is None:
        return False
    if gfx == _STRIX_HALO:
        return shared > own
    # Ollama's own rule (discover/amd.go at fb3076099).
    return 0 < own <= _CARVE_OUT_BYTES and shared >= max(_LEAST_SHARED_BYTES, 4 * own)


def _name(device: PciDevice, gfx: str | None, sight: Sight) -> str:
    product = shown(sight.text(f"{device.folder}/product_name"))
    entry = None
    if (name := amd_name(device, sight) or product) is None:
        entry = pci_name(device, sight)
    name = name or (f"AMD {bracketed(entry)}" if entry else f"AMD GPU ({gfx})" if gfx else None)
    return re.sub(r" OAM$", "", name or "AMD GPU")  # the socket of an Instinct, not its name


def _uuid(device: PciDevice, sight: Sight) -> str | None:
    told = sight.text(f"{device.folder}/unique_id").strip().lower()
    known = re.fullmatch(r"[0-9a-f]{1,16}", told) and told.strip("0")
    return f"GPU-{told.zfill(16)}" if known else None
