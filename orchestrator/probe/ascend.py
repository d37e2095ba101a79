"""Huawei's Ascend NPUs: read and told, though Ollama has no engine for them."""

import re
from collections import Counter
from dataclasses import dataclass

from orchestrator.fault import Fault
from orchestrator.machine import Absent, Accelerator
from orchestrator.probe.npu_smi import Chip, Reading, read_chips
from orchestrator.probe.pci import HUAWEI, PciDevice, devices_of
from orchestrator.probe.sight import Sight
from orchestrator.usability import NO_BACKEND

_DIE = "Ascend 910C, one chip of two"
# As the driver's own scripts name them.
_CHIPS = {
    "0xd100": "Ascend 310",
    "0xd500": "Ascend 310P",
    "0xd801": "Ascend 910",
    "0xd802": "Ascend 910B",
    "0xd803": _DIE,
}
_NO_NODES = "no /dev/davinci*: its driver is not loaded, or the container is given none"


@dataclass(frozen=True, slots=True)
class AscendProbe:
    """Asks npu-smi where a driver has made devices; without it they are told without memory."""

    sight: Sight
    name: str = "ascend"

    def read(self) -> tuple[Accelerator, ...] | Absent:
        """Return the chips in npu-smi's order, or why there are none. Never raises."""
        # Huawei's management chips are display controllers, of class 0x03.
        on_bus = [d for d in devices_of(HUAWEI, self.sight) if d.kind.startswith("0x12")]
        nodes = [n for n in self.sight.names("/dev") if re.fullmatch("davinci[0-9]{1,4}", n)]
        nodes = [node for node in nodes if self.sight.exists(f"/dev/{node}")]
        if not nodes and not on_bus:
            reason = "no /dev/davinci*, and no Ascend NPU on the PCI bus"
            return Absent(probe=self.name, reason=reason)
        reading = read_chips(self.sight) if nodes else Reading(fault=_NO_NODES)
        return _told(reading) or _silent(len(nodes), on_bus, reading.fault)


def _told(reading: Reading) -> tuple[Accelerator, ...]:
    siblings = Counter(chip.npu for chip in reading.chips)
    return tuple(
        Accelerator(
            vendor="ascend",
            name=_name(chip, siblings[chip.npu]),
            index=index,
            memory_total_bytes=chip.total_bytes,
            memory_free_bytes=chip.free_bytes,
            driver=reading.driver,
            pci=chip.bus,
        )
        for index, chip in enumerate(reading.chips)
    )


def _silent(nodes: int, on_bus: list[PciDevice], fault: str | None) -> tuple[Accelerator, ...]:
    """Return what can be told without npu-smi: how many chips there are, and of what kind."""
    count = nodes or len(on_bus)
    useless = NO_BACKEND["ascend"]
    unread = Fault(f"{useless.what}; its memory is unknown: {fault}", useless.remedy)
    # A container sees all of the bus, and is given some of the chips: which, nothing tells.
    known = on_bus if len(on_bus) == count else []
    kinds = {_CHIPS.get(device.device, "Ascend NPU") for device in on_bus}
    return tuple(
        Accelerator(
            vendor="ascend",
            name=kinds.copy().pop() if len(kinds) == 1 else "Ascend NPU",
            index=index,
            memory_total_bytes=None,
            memory_free_bytes=None,
            pci=known[index].address if known else None,
            usable=False,
            unusable_reason=unread.text,
            remedy=unread.remedy,
        )
        for index in range(count)
    )


def _name(chip: Chip, siblings: int) -> str:
    name = (chip.name or "").removeprefix("Ascend")
    if siblings > 1 and (name == "910" or name.startswith("910_93")):
        return _DIE
    return f"Ascend {name}" if name else "Ascend NPU"
