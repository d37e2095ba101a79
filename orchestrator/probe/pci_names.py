"""What the lists of PCI ids call a device: a name to show, and the key to the catalogue."""

import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.probe.pci import PciDevice
from orchestrator.probe.sight import Sight

# Debian and Ubuntu; Fedora, Arch and SUSE; others.
PCI_LISTS = (
    Path("/usr/share/misc/pci.ids"),
    Path("/usr/share/hwdata/pci.ids"),
    Path("/usr/share/pci.ids"),
)
# libdrm's own, and that of AMD's packages.
AMD_LISTS = (
    Path("/usr/share/libdrm/amdgpu.ids"),
    Path("/opt/amdgpu/share/libdrm/amdgpu.ids"),
)
_ID = re.compile(r"0x([0-9a-f]{4})")
_REVISION = re.compile(r"0x([0-9a-f]{2})")
_MOST_LETTERS = 80


def pci_name(device: PciDevice, sight: Sight) -> str | None:
    """Return the entry of pci.ids, such as "DG2 [Arc A770]"; None: no list, or not in it."""
    vendor, number = _ID.fullmatch(device.vendor), _ID.fullmatch(device.device)
    if not vendor or not number:
        return None
    ids = vendor[1], number[1]
    return shown(sight.told(f"pci-name {ids[0]}:{ids[1]}", lambda: listed(*ids)))


def amd_name(device: PciDevice, sight: Sight) -> str | None:
    """Return AMD's name of a device and its revision, such as "AMD Radeon RX 7900 XTX"."""
    number = _ID.fullmatch(device.device)
    revision = _REVISION.fullmatch(sight.text(f"{device.folder}/revision").strip().lower())
    if not number or not revision:
        return None
    ids = number[1], revision[1]
    return shown(sight.told(f"pci-name 1002:{ids[0]}:{ids[1]}", lambda: listed_by_amd(*ids)))


def listed(vendor: str, device: str, lists: tuple[Path, ...] = PCI_LISTS) -> str | None:
    """Return what the first list that knows a device calls it."""
    for path in lists:
        inside = False
        for line in _lines(path):
            if line[:1] not in ("", "\t", "#"):
                inside = line.startswith(f"{vendor}  ")
            elif inside and line.startswith(f"\t{device}  "):
                return line[7:]
    return None


def listed_by_amd(device: str, revision: str, lists: tuple[Path, ...] = AMD_LISTS) -> str | None:
    """Return what the first of AMD's lists that knows a device and revision calls it."""
    for path in lists:
        for line in _lines(path):
            cells = [cell.strip() for cell in line.split(",", 2)]
            if [cell.lower() for cell in cells[:2]] == [device, revision] and len(cells) == 3:
                return cells[2]
    return None


def bracketed(entry: str) -> str:
    """Return the product out of an entry of pci.ids: "DG2 [Arc A770]" is an Arc A770."""
    found = re.search(r"\[(.+)\]", entry)
    return found[1] if found else entry


def shown(name: str | None) -> str | None:
    """Return the first line of a name that came from a file, fit to be shown; None: nothing."""
    line = "".join(c for c in (name or "").strip().partition("\n")[0] if c.isprintable())
    return line.strip()[:_MOST_LETTERS] or None


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from (line.rstrip("\n") for line in file)
    except (OSError, ValueError):
        return
