"""Checks of the processor and of the host memory."""

from collections.abc import Iterator

from orchestrator.doctor.case import Case
from orchestrator.doctor.check import Check, passed, warned
from orchestrator.machine import Host, Memory
from orchestrator.units import GIB, gib

# The architectures on which a missing AVX2 is a choice of the hypervisor, or an old processor.
_X86 = frozenset({"x86_64", "amd64", "i686"})
_TOLD_SHARE = 0.10
_LEAST_FREE_BYTES = 2 * GIB


def host(case: Case) -> Iterator[Check]:
    """Check the processor and the memory."""
    yield _processor(case.machine.host)
    if threads := case.machine.host.told_threads:
        yield _threads(case.machine.host, threads)
    yield from _memory(case.machine.memory)


def _processor(cpu: Host) -> Check:
    name = cpu.cpu or cpu.arch
    if cpu.arch.lower() in _X86 and cpu.isa and "avx2" not in cpu.isa:
        return warned(
            "cpu",
            f"{name} shows no AVX2: on the CPU a model answers several times slower",
            "in a virtual machine give it the host's processor model (cpu type `host`); else keep"
            " to models of 1.5B: `deploy auto deepseek-r1:1.5b`",
        )
    return passed("cpu", f"{name}, {cpu.physical_cores or '?'} cores for the server")


def _threads(cpu: Host, threads: int) -> Check:
    if cpu.quota_binds:
        name, granted = "cpu quota", f"a control group grants {(cpu.cpu_quota or 0) / 1000:g}"
        raised = "raise the quota (CPUQuota=, --cpus)"
    else:
        name, granted = "cpu set", f"the server is scheduled on {threads}"
        raised = "give it more cores (AllowedCPUs=, CPUAffinity=, --cpuset-cpus)"
    return warned(
        name,
        f"{granted} of the box's {cpu.box_cores} cores, and Ollama starts a thread for each",
        f"{raised}; what deploy deploys is told num_thread {threads}, other models need it in their"
        " clients' options",
    )


def _memory(memory: Memory) -> Iterator[Check]:
    limit = memory.limit_bytes
    limited = "" if limit is None else f", a control group leaves {gib(limit)}"
    shown = f"{gib(memory.available_bytes)} of {gib(memory.total_bytes)} available{limited}"
    if memory.free_bytes < _LEAST_FREE_BYTES:
        raised = ", or raise the limit (MemoryMax=, --memory, --cpuset-mems)"
        yield warned(
            "memory",
            shown,
            f"end what is not needed{'' if limit is None else raised}"
            "; `deploy plan` says what still fits",
        )
    else:
        yield passed("memory", shown)
    if (pages := memory.huge_pages_bytes or 0) > _TOLD_SHARE * memory.total_bytes:
        yield warned(
            "huge pages",
            f"{gib(pages)} are set aside as huge pages, which Ollama never uses",
            "`sysctl vm.nr_hugepages=0`, unless a virtual machine or a database needs them",
        )
    if (cache := memory.zfs_cache_bytes or 0) > _TOLD_SHARE * memory.total_bytes:
        yield warned(
            "zfs cache",
            f"ZFS holds {gib(cache)} that it would give back, and Ollama counts as used",
            "lower zfs_arc_max (/sys/module/zfs/parameters/zfs_arc_max) before a large model",
        )
