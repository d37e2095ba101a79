"""Accelerators on the PCI bus, by vendor: what tells "none here" from "here, but unread"."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.machine import Absent
from orchestrator.runtime.proc import read_text

NVIDIA, AMD, INTEL, HUAWEI = "0x10de", "0x1002", "0x8086", "0x19e5"
# PCI base classes: display controllers and processing accelerators.
_CLASSES = ("0x03", "0x12")


def devices_of(vendor: str, root: Path = Path("/")) -> tuple[str, ...]:
    """Return the addresses of a vendor's display and accelerator devices, () where none."""
    bus = root / "sys" / "bus" / "pci" / "devices"
    try:
        folders = sorted(bus.iterdir())
    except OSError:
        return ()
    return tuple(
        each.name
        for each in folders
        if read_text(each / "vendor").strip() == vendor
        and read_text(each / "class").startswith(_CLASSES)
    )


@dataclass(frozen=True, slots=True)
class UnreadProbe:
    """A vendor whose devices this version finds and does not read: planned as a CPU."""

    name: str
    vendor: str
    label: str
    root: Path = Path("/")

    def read(self) -> Absent:
        """Return why there is no accelerator of this vendor in the machine."""
        found = devices_of(self.vendor, self.root)
        if not found:
            return Absent(probe=self.name, reason=f"no {self.label} on the PCI bus")
        unread = "is present, and this version does not read it: planned as a CPU"
        hint = "`--machine FILE` can describe it"
        return Absent(
            probe=self.name, reason=f"{self.label} at {', '.join(found)} {unread}; {hint}"
        )


@dataclass(frozen=True, slots=True)
class AppleProbe:
    """Apple's GPUs are on no bus: the operating system and the architecture tell."""

    system: str
    arch: str
    name: str = "apple"

    def read(self) -> Absent:
        """Return why there is no Apple GPU in the machine."""
        if (self.system, self.arch) != ("darwin", "arm64"):
            return Absent(probe=self.name, reason="not a Mac with Apple silicon")
        unread = "this version does not read Apple's GPU: planned as a CPU"
        return Absent(probe=self.name, reason=f"{unread}; `--machine FILE` can describe it")
