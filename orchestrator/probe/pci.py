"""The PCI bus: which accelerators are plugged in, whether or not a driver knows them."""

from dataclasses import dataclass

from orchestrator.probe.sight import Sight

NVIDIA, AMD, INTEL, HUAWEI = "0x10de", "0x1002", "0x8086", "0x19e5"
_BUS = "/sys/bus/pci/devices"
# PCI base classes: display controllers and processing accelerators.
_CLASSES = ("0x03", "0x12")


@dataclass(frozen=True, kw_only=True, slots=True)
class PciDevice:
    """A display controller or accelerator: its address in sysfs, and ids such as "0x10de"."""

    address: str
    vendor: str
    device: str
    kind: str

    @property
    def folder(self) -> str:
        """Where sysfs describes it."""
        return f"{_BUS}/{self.address}"


def devices_of(vendor: str | None, sight: Sight) -> tuple[PciDevice, ...]:
    """Return the display and accelerator devices of a vendor (None: of all), () where none."""
    found = []
    for address in sight.names(_BUS):
        folder = f"{_BUS}/{address}"
        kind = sight.text(f"{folder}/class").strip()
        maker = sight.text(f"{folder}/vendor").strip().lower()
        if kind.startswith(_CLASSES) and vendor in (None, maker):
            device = sight.text(f"{folder}/device").strip().lower()
            found.append(PciDevice(address=address, vendor=maker, device=device, kind=kind))
    return tuple(found)
