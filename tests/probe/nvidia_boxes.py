"""What the tests of the NVIDIA probe have in common: answers taken apart, cards on a bus."""

from collections.abc import Callable

from orchestrator.machine import Absent, Accelerator
from tests.probe.boxes import Box

LATEST = "0.33.0"
# What the kernel module says of itself: the closed one, and the open one on both architectures.
MODULES = [
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (x@y)\n",
    "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  550.54.14  Release Build  (x@y)\n",
]

Read = Callable[[str], tuple[Accelerator, ...] | Absent]


def cards(found: tuple[Accelerator, ...] | Absent) -> tuple[Accelerator, ...]:
    assert not isinstance(found, Absent), found.reason
    return found


def one(found: tuple[Accelerator, ...] | Absent) -> Accelerator:
    (card,) = cards(found)
    return card


def why(found: tuple[Accelerator, ...] | Absent) -> str:
    assert isinstance(found, Absent)
    return found.reason


def plug(box: Box, address: str, *, driver: str | None = "nvidia", device: str = "0x2330") -> None:
    """Put an NVIDIA card on the box's PCI bus."""
    folder = f"/sys/bus/pci/devices/{address}"
    for name, text in {"vendor": "0x10de", "class": "0x030200", "device": device}.items():
        box.file(f"{folder}/{name}", f"{text}\n")
    if driver:
        box.link(f"{folder}/driver", f"../../../../bus/pci/drivers/{driver}")
