"""NUMA: which memory lies near to which processors, and memory without any (CXL, HBM)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.machine import Accelerator, Host, Memory, NumaNode
from orchestrator.probe.cores import allowed_list
from orchestrator.probe.sight import Sight, whole
from orchestrator.units import KIB

_NODES = "/sys/devices/system/node"
# What the kernel gives back before it moves to another node.
_RECLAIMABLE = ("MemFree", "Active(file)", "Inactive(file)", "SReclaimable")
# The driver keeps some of a card's memory to itself, and the kernel some of a node's.
_ALIKE = 0.10
# No card is coherent with these; a node without processors is memory on CXL there.
_X86 = ("x86_64", "amd64")


def read_numa(sight: Sight) -> tuple[NumaNode, ...]:
    """Return the nodes of the host memory, () where the kernel tells none.

    `free_bytes` counts page cache as free. A node without processors is told like any other: HBM
    of a GPU that the kernel uses as memory (GH200) is also what that GPU's driver reports.
    """
    return tuple(sorted(_nodes(sight), key=lambda node: node.index))


def free_on_allowed_nodes(pid: int | None, sight: Sight) -> int | None:
    """Return what is free on the nodes that a process (None: ourselves) may take memory from.

    None: it may take it from all of them, or what is free there is not told.
    """
    allowed, nodes = allowed_list("Mems", pid, sight), read_numa(sight)
    free = [node.free_bytes for node in nodes if node.index in allowed]
    if not free or len(free) == len(nodes):
        return None
    known = [each for each in free if each is not None]
    return sum(known) if len(known) == len(free) else None


def without_device_nodes(memory: Memory, host: Host, accelerators: Sequence[Accelerator]) -> Memory:
    """Return the memory without that of NVIDIA cards which the kernel uses as its own.

    On GH200 and GB200 a card's HBM is a node without processors: a part of what /proc/meminfo
    tells, and once more what the driver tells of the card. Such a node is known by its size. One
    whose free memory is unknown counts as free: nothing of it is promised twice.
    """
    totals = [
        card.memory_total_bytes
        for card in accelerators
        if card.vendor == "nvidia" and not card.unified_memory and card.memory_total_bytes
    ]
    total, available = memory.total_bytes, memory.available_bytes
    for node in host.numa if host.arch.lower() not in _X86 else ():
        size = node.total_bytes or 0
        alike = [each for each in totals if abs(size - each) <= _ALIKE * each]
        if not node.cpus and alike:
            totals.remove(alike[0])
            total -= size
            available -= size if node.free_bytes is None else node.free_bytes
    total = max(0, total)
    return replace(memory, total_bytes=total, available_bytes=min(total, max(0, available)))


def meminfo(text: str) -> dict[str, int]:
    """Return the fields of a file such as /proc/meminfo: bytes, and counts of huge pages."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        number, *unit = rest.split() or [""]
        value = whole(number)
        if value is not None and value >= 0:
            # NUMA nodes write "Node 0 MemTotal: …".
            found[key.split(" ")[-1]] = value * KIB if unit == ["kB"] else value
    return found


def _nodes(sight: Sight) -> Iterator[NumaNode]:
    for name in sight.names(_NODES):
        numbered = re.fullmatch(r"node([0-9]{1,4})", name)
        if not numbered:
            continue
        told = meminfo(sight.text(f"{_NODES}/{name}/meminfo"))
        cpus = sight.text(f"{_NODES}/{name}/cpulist").strip()
        total = told.get("MemTotal")
        # Without memory, or where it cannot be read, there is nothing to tell.
        if not total or not re.fullmatch(r"[0-9,-]*", cpus):
            continue
        free = sum(told.get(key, 0) for key in _RECLAIMABLE) if "MemFree" in told else None
        yield NumaNode(
            index=int(numbered[1]),
            cpus=cpus,
            total_bytes=total,
            free_bytes=None if free is None else min(free, total),
        )
