"""Host memory, and what the tightest control group on the server leaves of it."""

import contextlib

from orchestrator.machine import Memory
from orchestrator.probe import darwin
from orchestrator.probe.cgroup import Group, lineage
from orchestrator.probe.numa import free_on_allowed_nodes, meminfo
from orchestrator.probe.sight import Sight, whole

_HERE = Sight()
_ARC = "/proc/spl/kstat/zfs/arcstats"
# Version 1 writes "no limit" as the largest multiple of a page below 2**63.
_UNLIMITED = 2**62


def read_memory(pid: int | None, sight: Sight = _HERE) -> Memory:
    """Return the host's memory in bytes and the headroom of a process's control groups.

    `pid` is a server on this machine, None ourselves: the limit that matters is the server's.
    `limit_bytes` is None where no group limits it, neither its memory nor the NUMA nodes that it
    takes it from. Page cache that the kernel gives back is not counted as used (Ollama itself
    counts it in some versions); swap is never counted. HBM that a driver lends the host is a part
    of the total: numa.without_device_nodes takes it out. Sources: /proc/meminfo (macOS: sysctl and
    vm_stat; else psutil), arcstats of ZFS, memory.{max,high,current,stat},
    memory.{limit,usage}_in_bytes, Mems_allowed_list of /proc/PID/status and the meminfo of nodes.
    The total is 0 only on a captured box that kept none of them.
    """
    told = meminfo(sight.text("/proc/meminfo"))
    total, available = _host(told, sight)
    left = [_headroom(group) for group in lineage("memory", pid, sight)]
    left.append(free_on_allowed_nodes(pid, sight))
    return Memory(
        total_bytes=total,
        available_bytes=min(available, total),
        limit_bytes=min((each for each in left if each is not None), default=None),
        swap_total_bytes=told.get("SwapTotal"),
        huge_pages_bytes=_huge_pages(told),
        zfs_cache_bytes=_zfs_cache(sight.text(_ARC)),
    )


def _host(told: dict[str, int], sight: Sight) -> tuple[int, int]:
    """Return the total and what is available, blind to control groups."""
    if sight.uname()[0] == "darwin":
        of_mac = darwin.memory(sight)
        if of_mac:
            return of_mac
    if not told.get("MemTotal"):
        answer = sight.told("memory", _of_psutil) or ""
        numbers = [value for value in map(whole, answer.split()) if value is not None]
        return (numbers[0], numbers[1]) if len(numbers) == 2 and min(numbers) >= 0 else (0, 0)
    # Kernels before 3.14 have no MemAvailable: free and page cache come close.
    rough = sum(told.get(key, 0) for key in ("MemFree", "Buffers", "Cached"))
    return told["MemTotal"], told.get("MemAvailable", rough)


def _of_psutil() -> str | None:
    import psutil

    # It reads the same files where there are some: what broke our reading may break its own.
    with contextlib.suppress(OSError, RuntimeError, ValueError, LookupError):
        machine = psutil.virtual_memory()
        return f"{machine.total} {machine.available}"
    return None


def _huge_pages(told: dict[str, int]) -> int | None:
    if "HugePages_Total" not in told or "Hugepagesize" not in told:
        return None
    # Hugetlb counts pages of every size, and newer kernels only write it.
    return max(told["HugePages_Total"] * told["Hugepagesize"], told.get("Hugetlb", 0))


def _zfs_cache(text: str) -> int | None:
    """Return what ZFS would give back of its cache; its rows are "name type value"."""
    rows = (line.split() for line in text.splitlines())
    told = {row[0]: whole(row[2]) for row in rows if len(row) == 3}
    size, least = told.get("size"), told.get("c_min")
    return None if size is None or least is None else max(0, size - max(0, least))


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
    bounded = [limit for limit in limits if limit is not None and 0 <= limit < _UNLIMITED]
    if not bounded:
        return None
    # Half of the active files: the kernel reclaims them too, but something is using them.
    reclaimable = stat.get(f"{prefix}inactive_file", 0) + stat.get(f"{prefix}active_file", 0) // 2
    used = (group.number(usage) or 0) - reclaimable - stat.get("slab_reclaimable", 0)
    return max(0, min(bounded) - max(0, used))
