"""What macOS tells of a Mac's processor and memory, by its own `sysctl` and `vm_stat`."""

import re

from orchestrator.probe.sight import Sight, whole

_NAMES = (
    "hw.memsize", "machdep.cpu.brand_string", "hw.physicalcpu", "hw.logicalcpu",
    "hw.perflevel0.physicalcpu", "sysctl.proc_translated", "hw.optional",
)  # fmt: skip
# What can be taken without pushing a program out: unused, read ahead, or given up by its owner.
_AVAILABLE = ("free", "inactive", "speculative", "purgeable")
# By the names of /proc/cpuinfo.
_ISA = {
    "sse4_2": "sse4_2", "avx1_0": "avx", "f16c": "f16c", "fma": "fma", "avx2_0": "avx2",
    "bmi2": "bmi2", "avx512f": "avx512f", "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16", "AdvSIMD": "asimd", "neon": "asimd",
    "arm.FEAT_DotProd": "asimddp", "arm.FEAT_FP16": "asimdhp", "neon_fp16": "asimdhp",
    "arm.FEAT_I8MM": "i8mm", "arm.FEAT_SME": "sme",
}  # fmt: skip


def sysctl(sight: Sight) -> dict[str, str]:
    """Return the values by name, {} where the tool does not answer."""
    # A name that this Mac does not know fails alone: the others are still printed.
    said = sight.tool("sysctl host", ["sysctl", *_NAMES]).text
    rows = (line.partition(":") for line in said.splitlines())
    return {key.strip(): value.strip() for key, colon, value in rows if colon}


def number(told: dict[str, str], name: str) -> int | None:
    """Return a positive number among the values, None where there is none."""
    value = whole(told.get(name, ""))
    return value if value is not None and value > 0 else None


def instruction_sets(told: dict[str, str]) -> frozenset[str]:
    """Return what the processor has, by the names of /proc/cpuinfo."""
    return frozenset(
        name for key, name in _ISA.items() if number(told, f"hw.optional.{key}") is not None
    )


def memory(sight: Sight) -> tuple[int, int] | None:
    """Return the total and the available bytes, None where one of the two is not told."""
    total = number(sysctl(sight), "hw.memsize")
    said = sight.tool("vm_stat", ["vm_stat"]).text
    page = re.search(r"page size of ([0-9]{1,9}) bytes", said)
    pages = re.findall(r"^Pages ([a-z]+): +([0-9]{1,15})\.", said, re.MULTILINE)
    told = {kind: int(count) for kind, count in pages}
    if not total or not page or "free" not in told:
        return None
    return total, sum(told.get(kind, 0) for kind in _AVAILABLE) * int(page[1])
