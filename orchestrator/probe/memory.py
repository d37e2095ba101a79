"""Host memory, and what the tightest control group on the server leaves of it."""

from pathlib import Path

from orchestrator.machine import Memory
from orchestrator.probe.cgroup import Group, lineage
from orchestrator.runtime.proc import read_text
from orchestrator.units import KIB

# Version 1 writes "no limit" as the largest multiple of a page below 2**63.
_UNLIMITED = 2**62


def read_memory(cgroup_of_pid: int | None, root: Path = Path("/")) -> Memory:
    """Return the host's memory in bytes and the headroom of a process's control groups.

    `cgroup_of_pid` is a server on this machine, None ourselves: the limit that matters is the
    server's. `limit_bytes` is None where no group limits it. Page cache that the kernel gives back
    is not counted as used (Ollama itself counts it in some versions). Sources: /proc/meminfo (else
    psutil), memory.{max,high,current,stat} and memory.{limit,usage}_in_bytes.
    """
    total, available = _meminfo(read_text(root / "proc" / "meminfo"))
    left = [_headroom(group) for group in lineage("memory", cgroup_of_pid, root)]
    limits = [each for each in left if each is not None]
    return Memory(
        total_bytes=total,
        available_bytes=min(available, total),
        limit_bytes=min(limits, default=None),
    )


def _meminfo(text: str) -> tuple[int, int]:
    rows = (line.replace(":", " ").split() for line in text.splitlines())
    kib = {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
    if "MemTotal" not in kib:
        import psutil

        machine = psutil.virtual_memory()
        return machine.total, machine.available
    # Kernels before 3.14 have no MemAvailable: free and page cache come close.
    rough = sum(kib.get(key, 0) for key in ("MemFree", "Buffers", "Cached"))
    return kib["MemTotal"] * KIB, kib.get("MemAvailable", rough) * KIB


def _headroom(group: Group) -> int | None:
    caps: tuple[str, ...]
    if group.version == 2:
        # Above memory.high the kernel throttles and reclaims: a model beyond it does not run.
        caps, usage, prefix = ("memory.max", "memory.high"), "memory.current", ""
    else:
        caps, usage, prefix = ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_"
    stat = group.table("memory.stat")
    limits = [group.number(cap) for cap in caps]
    # Version 1 tells limits of ancestors that a container cannot see.
    limits.append(stat.get("hierarchical_memory_limit"))
    bounded = [limit for limit in limits if limit is not None and limit < _UNLIMITED]
    if not bounded:
        return None
    # Half of the active files: the kernel reclaims them too, but something is using them.
    reclaimable = stat.get(f"{prefix}inactive_file", 0) + stat.get(f"{prefix}active_file", 0) // 2
    used = (group.number(usage) or 0) - reclaimable - stat.get("slab_reclaimable", 0)
    return max(0, min(bounded) - max(0, used))
