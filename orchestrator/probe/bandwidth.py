"""The memory bandwidth of the host, measured: it bounds how fast a CPU decodes."""

import os
import re
from dataclasses import dataclass

from orchestrator.probe.cores import CPUS, cpu_list, quota, usable_cpus, within_quota
from orchestrator.probe.cores import threads as one_a_core
from orchestrator.probe.memory import read_memory
from orchestrator.probe.rounds import read_in_rounds
from orchestrator.probe.sight import Sight, whole
from orchestrator.units import KIB, MIB, gib

_HERE = Sight()
_LEAST_BYTES, _USUAL_BYTES, _BYTES_A_THREAD = 96 * MIB, 192 * MIB, 64 * MIB
_CACHE_TIMES = 4
_SHARE = 8  # an eighth of what is available may be borrowed


@dataclass(frozen=True, kw_only=True, slots=True)
class Bandwidth:
    """Bytes that all threads together read a second; None where that was not measured: `reason`.

    `noisy`: something else kept the box busy, and the figure may be too low.
    """

    bytes_per_s: int | None = None
    noisy: bool | None = None
    reason: str | None = None


def measure(threads: int | None = None, sight: Sight = _HERE) -> Bandwidth:
    """Return the read bandwidth of the host memory with so many threads, None: one for each core.

    Takes less than half a second, on a busy box little more than one. Never more threads than this
    process's own cores and quota, nor more than an eighth of the memory that it may take: its
    control groups may be tighter than the server's. A captured box answers what was measured on
    it. Never raises.
    """
    told = sight.told("memory bandwidth", lambda: _shown(_measured(threads, sight)))
    return _read(told or "the memory bandwidth was not measured when this box was captured")


def least_to_read(cache_bytes: int) -> int:
    """Return the bytes of which so many come from memory that the cache hardly helps."""
    return max(_LEAST_BYTES, _CACHE_TIMES * cache_bytes)


def bytes_to_read(threads: int, available_bytes: int, least_bytes: int) -> int | None:
    """Return how much to read a round; None: the least is more than may be borrowed."""
    wanted = max(_USUAL_BYTES, _BYTES_A_THREAD * threads, least_bytes)
    size = min(wanted, available_bytes // _SHARE)
    return size if size >= least_bytes else None


def is_noisy(*, best: float, mean: float, load: float, cores: int) -> bool:
    """Say whether rounds of this best and mean rate were disturbed, or the box had other work.

    `load` is the load average of the last minute, and `cores` counts those of the whole box.
    """
    return mean < 0.6 * best or load > cores


def last_cache_bytes(cpus: frozenset[int], sight: Sight) -> int:
    """Return the size of the last level of cache that the processors have together, 0: unknown."""
    total, rest = 0, set(cpus)
    while rest:
        number = min(rest)
        size, shared = _last_cache(f"{CPUS}/cpu{number}/cache", sight)
        total += size
        rest -= shared | {number}
    return total


def _last_cache(folder: str, sight: Sight) -> tuple[int, frozenset[int]]:
    """Return the size of a processor's last cache and which processors share it."""
    best, last = 0, ""
    for name in sight.names(folder):
        level = sight.number(f"{folder}/{name}/level") or 0
        if level > best:
            best, last = level, f"{folder}/{name}"
    if not last:
        return 0, frozenset()
    kib = whole(sight.text(f"{last}/size").strip().removesuffix("K")) or 0
    return max(0, kib) * KIB, cpu_list(sight.text(f"{last}/shared_cpu_list"))


def _measured(threads: int | None, sight: Sight) -> Bandwidth:
    cpus, granted = usable_cpus(None, sight), quota(None, sight)
    count = threads or one_a_core(cpus, granted, sight) or 1
    count = max(1, min(count, within_quota(len(cpus) or None, granted) or count))
    cache = last_cache_bytes(cpus, sight)
    available = read_memory(None, sight).free_bytes
    least = least_to_read(cache)
    size = bytes_to_read(count, available, least)
    if size is None:
        return Bandwidth(
            reason="measuring the memory bandwidth takes"
            f" {gib(_SHARE * least)} of available memory, and there are {gib(available)}"
        )
    try:
        rates = read_in_rounds(count, size, least)
    except OSError as e:
        return Bandwidth(reason=f"the memory bandwidth could not be measured: {e}")
    best, mean = max(rates), sum(rates) / len(rates)
    noisy = is_noisy(best=best, mean=mean, load=_load(sight), cores=os.cpu_count() or 1)
    return Bandwidth(bytes_per_s=round(best), noisy=noisy)


def _load(sight: Sight) -> float:
    """Return the load average of the last minute, 0 where the system has none."""
    found = re.match(r"[0-9]{1,9}\.[0-9]{1,9}", sight.text("/proc/loadavg"))
    if found:
        return float(found[0])
    try:
        return os.getloadavg()[0]
    except OSError:
        return 0.0


def _shown(measured: Bandwidth) -> str:
    if measured.bytes_per_s is None:
        return measured.reason or ""
    return f"{measured.bytes_per_s} {'noisy' if measured.noisy else 'steady'}"


def _read(told: str) -> Bandwidth:
    found = re.fullmatch(r"([1-9][0-9]{0,14}) (noisy|steady)", told.strip())
    if not found:
        return Bandwidth(reason=told.strip())
    return Bandwidth(bytes_per_s=int(found[1]), noisy=found[2] == "noisy")
