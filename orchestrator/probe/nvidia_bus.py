"""NVIDIA's cards on the PCI bus against those that the driver lists: which are missing, and why."""

import re
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.errors import one_line
from orchestrator.fault import Fault
from orchestrator.machine import Accelerator
from orchestrator.probe.nvml_errors import REBOOT
from orchestrator.probe.pci import NVIDIA, PciDevice, devices_of
from orchestrator.probe.pci_facts import driver_of
from orchestrator.probe.sight import Sight

_BOUND = {
    "nouveau": Fault(
        "nouveau is bound to it, which Ollama cannot use", "keep nouveau from loading"
    ),
    "vfio-pci": Fault("vfio-pci is bound to it: it belongs to a virtual machine"),
}


def cards(sight: Sight) -> tuple[PciDevice, ...]:
    """Return the cards that a plain system would drive, without the virtual functions of vGPU."""
    found = devices_of(NVIDIA, sight)
    return tuple(d for d in found if sight.link(f"{d.folder}/physfn") is None)


def other_driver(card: PciDevice, sight: Sight) -> Fault | None:
    """Return, where another driver than NVIDIA's has a card, what that means; None: none has."""
    bound = driver_of(card, sight)
    if bound in (None, "nvidia"):
        return None
    return _BOUND.get(bound) or Fault(f"{bound} is bound to it")


def with_unlisted(listed: Sequence[Accelerator], sight: Sight) -> tuple[Accelerator, ...]:
    """Return what the driver lists and, behind it, the cards that only the bus knows.

    A container sees every card of its host on the bus: those that it was not given are left out.
    """
    addresses = [a.pci for a in listed if a.pci]
    on_bus = cards(sight)
    missing = [d for d in on_bus if d.address not in addresses and not _hidden(d, addresses, sight)]
    unplaced = [a for a in listed if a.pci is None and not (a.uuid or "").startswith("MIG-")]
    if unplaced:
        # A lost card is listed without its address. Of several nobody knows which is which.
        if not len(unplaced) == len(missing) == 1:
            return tuple(listed)
        placed = replace(unplaced[0], pci=missing[0].address)
        return tuple(placed if a is unplaced[0] else a for a in listed)
    names = {model: a.name for a in listed if (model := _model(a.pci, sight))}
    whole = f"{len(set(addresses))} of {len(set(addresses)) + len(missing)} are"
    found = [
        _unlisted(d, names, _why(d, whole, sight), index)
        for index, d in enumerate(missing, start=len(listed))
    ]
    return (*listed, *found)


def _unlisted(card: PciDevice, names: dict[str, str], why: Fault, index: int) -> Accelerator:
    return Accelerator(
        vendor="nvidia",
        name=names.get(card.device) or one_line(f"NVIDIA GPU {card.device}".strip()),
        index=index,
        memory_total_bytes=None,
        memory_free_bytes=None,
        pci=card.address,
        usable=False,
        unusable_reason=why.text,
        remedy=why.remedy,
    )


def _why(card: PciDevice, whole: str, sight: Sight) -> Fault:
    found = other_driver(card, sight)
    if found is None and driver_of(card, sight) is None:
        found = Fault(
            "no driver is bound to it (it may be too old for this driver, or have failed to start)",
            "see what `dmesg | grep NVRM` says",
        )
    found = found or Fault(
        f"it is on the PCI bus and the driver does not list it ({whole}): it fell off the bus or"
        " did not start",
        REBOOT,
    )
    return replace(found, what=f"at {card.address}: {found.what}")


def _hidden(card: PciDevice, listed: Sequence[str], sight: Sight) -> bool:
    """Say whether NVIDIA's driver has a card that this container was not given."""
    if driver_of(card, sight) != "nvidia":
        return False
    known = _information(card.address, sight)
    if not known:
        return any(_information(address, sight) for address in listed)
    minor = re.search(r"^Device Minor:\s*([0-9]{1,5})\s*$", known, re.MULTILINE)
    return minor is not None and not sight.exists(f"/dev/nvidia{minor[1]}")


def _information(address: str, sight: Sight) -> str:
    return sight.text(f"/proc/driver/nvidia/gpus/{address}/information")


def _model(address: str | None, sight: Sight) -> str:
    return sight.text(f"/sys/bus/pci/devices/{address}/device").strip().lower()
