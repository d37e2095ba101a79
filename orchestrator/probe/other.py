"""Accelerators of vendors that no engine of Ollama serves: seen on the PCI bus, and named."""

from dataclasses import dataclass

from orchestrator.machine import Absent, Accelerator
from orchestrator.probe.pci import PciDevice, devices_of
from orchestrator.probe.pci_names import pci_name
from orchestrator.probe.sight import Sight

# Source: pci.ids. Makers of management chips and of virtual display adapters are not among them.
VENDORS = {
    "0x1d94": "Hygon", "0x1ed5": "Moore Threads", "0xcabc": "Cambricon", "0x1e3e": "Iluvatar",
    "0x9999": "MetaX", "0x1e36": "Enflame", "0x1d22": "Kunlunxin", "0x1ec6": "Vastai",
    "0x1e9f": "Lynxi", "0x1ec8": "Innosilicon", "0x4c54": "Lisuan", "0x1da3": "Habana",
    "0x1e52": "Tenstorrent", "0x1d95": "Graphcore", "0x1de0": "Groq", "0x1f82": "d-Matrix",
    "0x1eff": "Rebellions", "0x1ed2": "FuriosaAI", "0x1e67": "Untether AI",
}  # fmt: skip
"""The makers by PCI vendor id."""
_KINDS = {"0x1d94": "DCU"}


@dataclass(frozen=True, slots=True)
class OtherProbe:
    """Reads PCI ids only: no driver of these vendors is asked for memory."""

    sight: Sight
    name: str = "other"

    def read(self) -> tuple[Accelerator, ...] | Absent:
        """Return the devices in the order of the bus, or why there are none. Never raises."""
        devices = [d for d in devices_of(None, self.sight) if d.vendor in VENDORS]
        cards = tuple(self._card(number, device) for number, device in enumerate(devices))
        return cards or Absent(probe=self.name, reason="no accelerator of another vendor")

    def _card(self, index: int, device: PciDevice) -> Accelerator:
        product = pci_name(device, self.sight) or _KINDS.get(device.vendor, "accelerator")
        return Accelerator(
            vendor="other",
            name=f"{VENDORS[device.vendor]} {product}",
            index=index,
            memory_total_bytes=None,
            memory_free_bytes=None,
            pci=device.address,
        )
