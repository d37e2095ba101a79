"""What sysfs tells of a PCI device beyond its ids: the driver, the link, and memory figures."""

import re

from orchestrator.errors import one_line
from orchestrator.probe.pci import PciDevice
from orchestrator.probe.sight import Sight, whole

_MOST_BYTES = 2**50  # no device has a PiB; a figure above it is none
_MOST_LANES = 32
_GENERATIONS = {"2.5": 1, "5": 2, "8": 3, "16": 4, "32": 5, "64": 6}  # by GT/s


def driver_of(device: PciDevice, sight: Sight) -> str | None:
    """Return the name of the kernel driver that is bound to it, None where none is."""
    link = sight.link(f"{device.folder}/driver") or ""
    return one_line(link.rpartition("/")[2]) or None


def size_of(path: str, sight: Sight) -> int | None:
    """Return the bytes that a file tells; None: no number, or none that a device can have."""
    value = sight.number(path)
    return value if value is not None and 0 <= value <= _MOST_BYTES else None


def link_of(device: PciDevice, sight: Sight) -> tuple[int | None, int | None]:
    """Return the generation and the lanes of its best link, which it leaves when it idles."""
    speed = re.match(
        r"([0-9]+(?:\.5)?)(?:\.0)? GT/s", sight.text(f"{device.folder}/max_link_speed")
    )
    width = whole(sight.text(f"{device.folder}/max_link_width"))
    lanes = width if width is not None and 0 < width <= _MOST_LANES else None
    return (_GENERATIONS.get(speed[1]) if speed else None), lanes
