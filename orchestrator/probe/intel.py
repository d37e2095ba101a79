"""Intel GPUs, by what the kernel's drivers xe and i915 tell in sysfs."""

import re
from dataclasses import dataclass

from orchestrator.machine import Absent, Accelerator
from orchestrator.probe.pci import INTEL, PciDevice, devices_of
from orchestrator.probe.pci_facts import link_of, size_of
from orchestrator.probe.pci_names import bracketed, pci_name
from orchestrator.probe.sight import Sight

# Where Intel's processors have their GPU; cards are behind a bridge, on another bus.
_IN_PROCESSOR = "0000:00:02.0"
# For boxes without a list of PCI ids, or with one that is older than the card. Source: pci.ids.
_CARDS = {
    "0x56a0": "Arc A770", "0x56a1": "Arc A750", "0x56a2": "Arc A580", "0x56a5": "Arc A380",
    "0x56a6": "Arc A310", "0xe20b": "Arc B580", "0xe20c": "Arc B570", "0xe211": "Arc Pro B60",
    "0xe212": "Arc Pro B50", "0x56c0": "Data Center GPU Flex 170",
    "0x56c1": "Data Center GPU Flex 140", "0x0bd5": "Data Center GPU Max 1550",
    "0x0bd6": "Data Center GPU Max 1550", "0x0bd9": "Data Center GPU Max 1100",
    "0x0bda": "Data Center GPU Max 1100", "0x0bdb": "Data Center GPU Max 1100",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class IntelProbe:
    """Reads what is told to everybody: how much memory is used is told to root only."""

    sight: Sight
    name: str = "intel"

    def read(self) -> tuple[Accelerator, ...] | Absent:
        """Return the GPUs in the order of the bus, or why there are none. Never raises."""
        devices = [d for d in devices_of(INTEL, self.sight) if d.kind.startswith("0x03")]
        cards = tuple(self._card(number, device) for number, device in enumerate(devices))
        return cards or Absent(probe=self.name, reason="no Intel GPU on the PCI bus")

    def _card(self, index: int, device: PciDevice) -> Accelerator:
        generation, width = link_of(device, self.sight)
        return Accelerator(
            vendor="intel",
            name=_name(device, self.sight),
            index=index,
            memory_total_bytes=_memory(device, self.sight),
            memory_free_bytes=None,
            unified_memory=device.address == _IN_PROCESSOR,
            pci=device.address,
            pcie_generation=generation,
            pcie_width=width,
        )


def _memory(device: PciDevice, sight: Sight) -> int | None:
    """Return the memory of a card in bytes: of its tiles (xe), else as i915 tells it."""
    tiles = [name for name in sight.names(device.folder) if re.fullmatch("tile[0-9]", name)]
    cards = [name for name in sight.names(f"{device.folder}/drm") if name.startswith("card")]
    paths = [f"{device.folder}/{tile}/physical_vram_size_bytes" for tile in tiles]
    sizes = [size for path in paths if (size := size_of(path, sight))]
    if sizes:
        return sum(sizes)
    paths = [f"{device.folder}/drm/{card}/lmem_total_bytes" for card in cards]
    return next((size for path in paths if (size := size_of(path, sight))), None)


def _name(device: PciDevice, sight: Sight) -> str:
    entry = pci_name(device, sight)
    product = bracketed(entry) if entry else _CARDS.get(device.device, "GPU")
    return product if product.startswith("Intel ") else f"Intel {product}"
