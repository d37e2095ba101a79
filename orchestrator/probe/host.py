"""The processor: its name, the cores that the server may use, and what ggml has kernels for."""

import contextlib
import os
import platform
from collections.abc import Mapping
from math import ceil
from pathlib import Path

from orchestrator.machine import Host
from orchestrator.probe.cgroup import Group, lineage
from orchestrator.runtime.proc import read_text

# As /proc/cpuinfo spells them; ggml picks its CPU library by these.
_ISA = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "bmi2", "avx_vnni", "avx512f", "avx512_vnni",
    "avx512_bf16", "amx_tile", "amx_int8", "asimd", "asimddp", "asimdhp", "i8mm", "sve", "sve2",
)  # fmt: skip
_MARKS = (
    ("run/.containerenv", "podman"),
    ("var/run/secrets/kubernetes.io", "kubernetes"),
    (".dockerenv", "docker"),
)


def read_host(
    pid: int | None = None,
    root: Path = Path("/"),
    *,
    cores: frozenset[int] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Host:
    """Return the processor as the process `pid` (None: ourselves) may use it.

    `logical_cores` is what affinity and the CPU quota of its control groups leave, rounded up;
    `physical_cores` never exceeds it. Sources: /proc/cpuinfo, the topology in sysfs, cpu.max or
    cpu.cfs_quota_us. `root`, `cores` and `environ` replay a captured machine.
    """
    allowed = _affinity(pid) if cores is None else cores
    quota = _quota(lineage("cpu", pid, root))
    logical = len(allowed) or os.cpu_count() or 1
    usable = min(logical, ceil(quota)) if quota else logical
    physical = _physical(allowed, root)
    cpuinfo = _cpuinfo(read_text(root / "proc" / "cpuinfo"))
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return Host(
        os=platform.system().lower(),
        arch=platform.machine(),
        cpu=_name(cpuinfo, root),
        physical_cores=min(physical, usable) if physical else None,
        logical_cores=usable,
        isa=tuple(flag for flag in _ISA if flag in flags),
        container=_container(root, os.environ if environ is None else environ),
    )


def _affinity(pid: int | None) -> frozenset[int]:
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    for process in (pid or 0, 0):
        with contextlib.suppress(OSError):
            return frozenset(os.sched_getaffinity(process))
    return frozenset()


def _quota(groups: tuple[Group, ...]) -> float | None:
    """Return the cores that the tightest CPU quota grants; None where there is none."""
    grants = []
    for group in groups:
        if group.version == 2:
            quota, _, period = read_text(group.folder / "cpu.max").strip().partition(" ")
        else:
            quota = read_text(group.folder / "cpu.cfs_quota_us").strip()
            period = read_text(group.folder / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period):
            grants.append(int(quota) / int(period))
    return min(grants, default=None)


def _physical(allowed: frozenset[int], root: Path) -> int | None:
    cpus = root / "sys" / "devices" / "system" / "cpu"
    seen = set()
    for number in allowed:
        topology = cpus / f"cpu{number}" / "topology"
        core = read_text(topology / "core_id").strip()
        if not core:
            return None
        seen.add((read_text(topology / "physical_package_id").strip(), core))
    return len(seen) or None


def _cpuinfo(text: str) -> dict[str, str]:
    """Return the fields of the first processor."""
    rows = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, colon, value in rows if colon}


def _name(cpuinfo: Mapping[str, str], root: Path) -> str | None:
    # ARM boards name themselves in the device tree, with a NUL at the end.
    board = read_text(root / "proc" / "device-tree" / "model").strip("\0\n ")
    return cpuinfo.get("model name") or cpuinfo.get("Model") or board or None


def _container(root: Path, environ: Mapping[str, str]) -> str | None:
    told = read_text(root / "run" / "systemd" / "container").strip() or environ.get("container")
    if told:
        return told
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "kubernetes"
    for mark, kind in _MARKS:
        with contextlib.suppress(OSError):
            if (root / mark).exists():
                return kind
    return None
