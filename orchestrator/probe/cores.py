"""The cores that a process may use: affinity, quota, threads of one core, efficiency cores."""

import os
import re
from typing import Literal

from orchestrator.probe.cgroup import lineage
from orchestrator.probe.sight import Sight, whole

CPUS = "/sys/devices/system/cpu"
_MOST_CPUS = 8192  # no kernel is built for more


def cpu_list(text: str) -> frozenset[int]:
    """Return the processors of a list such as "0-3,8"; what is no such list names none."""
    found: set[int] = set()
    for part in text.strip("\0 \t\r\n").split(",")[:_MOST_CPUS]:
        span = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part.strip())
        if span:
            found.update(range(int(span[1]), min(int(span[2] or span[1]) + 1, _MOST_CPUS)))
    return frozenset(found)


def usable_cpus(pid: int | None, sight: Sight) -> frozenset[int]:
    """Return the logical processors that a process (None: ourselves) is scheduled on.

    An allowed processor may be switched off, and the scheduler spreads nothing over isolated ones.
    Empty where a captured box does not tell.
    """
    on = _switched_on(sight)
    allowed = allowed_list("Cpus", pid, sight) or allowed_list("Cpus", None, sight)
    if not allowed:
        allowed = cpu_list(sight.told("affinity", _affinity) or "")
    awake = allowed & on or allowed or on
    return awake - cpu_list(sight.text(f"{CPUS}/isolated")) or awake


def _switched_on(sight: Sight) -> frozenset[int]:
    """Return the processors of the whole box that run, whoever may use them."""
    online, present = (cpu_list(sight.text(f"{CPUS}/{name}")) for name in ("online", "present"))
    # In LXC the list of those online may be made up: as many as the container has, from 0. Whether
    # one is off it tells itself; one that has no such file cannot be switched.
    off = {n for n in present - online if sight.number(f"{CPUS}/cpu{n}/online") == 0}
    return (present | online) - off


def allowed_list(kind: Literal["Cpus", "Mems"], pid: int | None, sight: Sight) -> frozenset[int]:
    """Return the processors or memory nodes that a process may use; empty: it is not told."""
    status = sight.text(f"/proc/{pid or 'self'}/status")
    listed = re.search(rf"^{kind}_allowed_list:(.*)$", status, re.MULTILINE)
    return cpu_list(listed[1]) if listed else frozenset()


def _affinity() -> str:
    if hasattr(os, "sched_getaffinity"):
        return ",".join(map(str, sorted(os.sched_getaffinity(0))))
    return f"0-{(os.cpu_count() or 1) - 1}"


def quota(pid: int | None, sight: Sight) -> int | None:
    """Return what the tightest CPU quota grants, in thousandths of a core; None: no quota."""
    grants = []
    for group in lineage("cpu", pid, sight):
        if group.version == 2:
            granted, _, period = group.text("cpu.max").strip().partition(" ")
        else:
            granted, period = group.text("cpu.cfs_quota_us"), group.text("cpu.cfs_period_us")
        share, of = whole(granted), whole(period)
        if share is not None and of is not None and share > 0 and of > 0:
            grants.append(max(1, share * 1000 // of))
    return min(grants, default=None)


def physical_cores(cpus: frozenset[int], sight: Sight) -> int | None:
    """Return how many cores the processors are threads of; None: the box does not tell."""
    cores = {_core(number, sight) for number in cpus}
    return None if "" in cores else len(cores) or None


def _core(number: int, sight: Sight) -> str:
    """Return what two threads of one core have in common, "" where it is not told."""
    topology = f"{CPUS}/cpu{number}/topology"
    siblings = cpu_list(sight.text(f"{topology}/thread_siblings_list"))
    if number in siblings:
        return f"{min(siblings)}"
    core, package = (
        sight.number(f"{topology}/{name}") for name in ("core_id", "physical_package_id")
    )
    return "" if core is None or core < 0 else f"{package} {core}"


def threads(cpus: frozenset[int], granted: int | None, sight: Sight) -> int | None:
    """Return how many threads a server should start; None: nothing of its cores is known.

    One thread for each physical core: a second one on the same core takes from the first. Never
    more than whole cores of the quota: the kernel stops all threads once it is used up, and each
    of them waits for the slowest. On processors of two kinds only the fast cores count, if the
    process may use any; Linux lists them as Intel's cpu_core.
    """
    fast = cpus & cpu_list(sight.text("/sys/devices/cpu_core/cpus")) or cpus
    return within_quota(physical_cores(fast, sight) or len(fast) or None, granted)


def box_cores(sight: Sight) -> int | None:
    """Return how many threads a server starts that is told nothing; None: the box does not tell.

    Engines count the physical cores of the box, of two kinds the fast ones, by /proc/cpuinfo or the
    topology in sysfs. Neither knows what the process may use, nor its quota.
    """
    return threads(_switched_on(sight), None, sight)


def within_quota(cores: int | None, granted: int | None) -> int | None:
    """Return at most the whole cores that a quota grants, at least one."""
    if cores is None or granted is None:
        return cores
    return max(1, min(cores, granted // 1000))
