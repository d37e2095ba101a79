"""NUMA: which memory lies near to which processors, and memory without any (CXL, HBM)."""

import re
from collections.abc import Iterator

from orchestrator.machine import NumaNode
from orchestrator.probe.memory import meminfo
from orchestrator.probe.sight import Sight

_NODES = "/sys/devices/system/node"
# What the kernel gives back before it moves to another node.
_RECLAIMABLE = ("MemFree", "Active(file)", "Inactive(file)", "SReclaimable")


def read_numa(sight: Sight) -> tuple[NumaNode, ...]:
    """Return the nodes of the host memory, () where the kernel tells none.

    `free_bytes` counts page cache as free. A node without processors is told like any other: HBM
    of a GPU that the kernel uses as memory (GH200) is also what that GPU's driver reports.
    """
    return tuple(sorted(_nodes(sight), key=lambda node: node.index))


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
