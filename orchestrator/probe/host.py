"""The processor: its name, the cores that the server may use, and what ggml has kernels for."""

import os
from collections.abc import Mapping
from typing import Literal

from orchestrator.machine import Host
from orchestrator.probe import darwin
from orchestrator.probe.cores import box_cores, physical_cores, quota, threads, usable_cpus
from orchestrator.probe.numa import read_numa
from orchestrator.probe.sight import Sight

_HERE = Sight()
# As /proc/cpuinfo spells them; ggml picks its CPU library by these.
_ISA = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "bmi2", "avx_vnni", "avx512f", "avx512_vnni",
    "avx512_bf16", "amx_tile", "amx_int8", "asimd", "asimddp", "asimdhp", "i8mm", "sve", "sve2",
    "sme",
)  # fmt: skip
_MARKS = (
    ("/run/.containerenv", "podman"),
    ("/var/run/secrets/kubernetes.io", "kubernetes"),
    ("/.dockerenv", "docker"),
)


def read_host(
    pid: int | None = None,
    sight: Sight = _HERE,
    environ: Mapping[str, str] | None = None,
) -> Host:
    """Return the processor as the process `pid` (None: ourselves) may use it.

    `logical_cores` is what affinity and the CPU quota of its control groups leave, rounded up;
    `physical_cores` never exceeds it. Sources: /proc/cpuinfo, /proc/PID/status, the topology in
    sysfs, cpu.max or cpu.cfs_quota_us; macOS: sysctl. `environ` None is this process's.
    """
    system, arch = sight.uname()
    container = _container(sight, environ)
    if system == "darwin":
        return _mac(arch, container, sight)
    cpus, granted = usable_cpus(pid, sight), quota(pid, sight)
    logical, physical = _granted(len(cpus) or None, granted), physical_cores(cpus, sight)
    cpuinfo = _cpuinfo(sight.text("/proc/cpuinfo"))
    flags = frozenset((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return Host(
        os=system,
        arch=arch,
        cpu=_name(cpuinfo, sight),
        physical_cores=min(physical, logical) if physical and logical else None,
        logical_cores=logical,
        isa=_isa(flags),
        container=container,
        virtualization=_virtualization(sight),
        cpu_quota=granted,
        threads=threads(cpus, granted, sight),
        box_cores=box_cores(sight),
        numa=read_numa(sight),
    )


def _mac(arch: str, container: str | None, sight: Sight) -> Host:
    told = darwin.sysctl(sight)
    # A Python built for Intel runs translated on Apple's chips and does not know it.
    arch = "arm64" if darwin.number(told, "sysctl.proc_translated") else arch
    logical = darwin.number(told, "hw.logicalcpu") or len(usable_cpus(None, sight)) or None
    physical = darwin.number(told, "hw.physicalcpu")
    fast = darwin.number(told, "hw.perflevel0.physicalcpu") or physical or logical
    return Host(
        os="darwin",
        arch=arch,
        cpu=told.get("machdep.cpu.brand_string") or None,
        physical_cores=physical,
        logical_cores=logical,
        isa=_isa(darwin.instruction_sets(told)),
        container=container,
        threads=fast,
        box_cores=fast,
    )


def _granted(logical: int | None, granted: int | None) -> int | None:
    """Return the processors that a quota keeps busy: a part of one counts."""
    return min(logical, -(-granted // 1000)) if logical and granted else logical


def _isa(flags: frozenset[str]) -> tuple[str, ...]:
    return tuple(flag for flag in _ISA if flag in flags)


def _cpuinfo(text: str) -> dict[str, str]:
    """Return the fields of the first processor."""
    rows = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, colon, value in rows if colon}


def _name(cpuinfo: Mapping[str, str], sight: Sight) -> str | None:
    # ARM boards name themselves in the device tree, with a NUL at the end.
    board = sight.text("/proc/device-tree/model").strip("\0\n ")
    return cpuinfo.get("model name") or cpuinfo.get("Model") or board or None


def _virtualization(sight: Sight) -> Literal["wsl2"] | None:
    return "wsl2" if "microsoft" in sight.text("/proc/version").casefold() else None


def _container(sight: Sight, environ: Mapping[str, str] | None) -> str | None:
    told = sight.text("/run/systemd/container").strip()
    if environ is None:
        told = told or sight.told("container", lambda: _in_environment(os.environ)) or ""
    else:
        told = told or _in_environment(environ) or ""
    marks = (kind for mark, kind in _MARKS if sight.exists(mark))
    return told or next(marks, None)


def _in_environment(environ: Mapping[str, str]) -> str | None:
    kubernetes = "kubernetes" if "KUBERNETES_SERVICE_HOST" in environ else None
    return environ.get("container") or kubernetes
