"""Apple's GPUs: what macOS tells of the chip, and what of the memory Metal grants the GPU."""

import re
from dataclasses import dataclass

from orchestrator.fault import Fault
from orchestrator.machine import Absent, Accelerator
from orchestrator.probe.pci_names import shown
from orchestrator.probe.sight import Answer, Sight, whole
from orchestrator.units import GIB, MIB

_NAMES = (
    "hw.memsize",
    "iogpu.wired_limit_mb",
    "machdep.cpu.brand_string",
    "sysctl.proc_translated",
)
# Metal's recommendedMaxWorkingSetSize, of which it tells no program but its own: 10.7 to 11.8 of
# 16 GiB, 17.8 of 24, three quarters of 36 and more.
_SMALL_BYTES, _SMALL_SHARE, _SHARE = 32 * GIB, 0.66, 0.75
_MOST_BYTES = 2**50
# Chips that are sold with different memory buses under one name: the number of cores tells.
_BINNED = re.compile(r"Apple M([3-9]|[1-9][0-9]) Max")
_CORES = re.compile(r'"gpu-core-count" = ([0-9]{1,3})\b')


@dataclass(frozen=True, slots=True)
class AppleProbe:
    """Asks `sysctl`, and `ioreg` for the cores of a chip whose name does not tell them."""

    sight: Sight
    name: str = "apple"

    def read(self) -> tuple[Accelerator, ...] | Absent:
        """Return the chip's GPU, or why there is none. Never raises."""
        system, arch = self.sight.uname()
        if system != "darwin":
            return Absent(probe=self.name, reason="not a Mac")
        # Not on every PATH of cron. A name that this Mac does not know fails alone.
        answer = self.sight.tool("sysctl", ["/usr/sbin/sysctl", *_NAMES])
        if answer.fault:
            fault = Fault(f"the chip is not known: {answer.fault}", "see what `sysctl hw` says")
            present = arch == "arm64"
            return Absent(probe=self.name, reason=fault.text, present=present, remedy=fault.remedy)
        told = _values(answer)
        translated = told.get("sysctl.proc_translated") == "1"
        if arch != "arm64" and not translated:
            intel = "a Mac with an Intel processor: Ollama uses its CPU only"
            return Absent(probe=self.name, reason=intel)
        return (self._gpu(told, translated=translated),)

    def _gpu(self, told: dict[str, str], *, translated: bool) -> Accelerator:
        """Return the GPU; what is free is for the host to tell, they share it."""
        return Accelerator(
            vendor="apple",
            name=self._chip(told.get("machdep.cpu.brand_string"), translated=translated),
            index=0,
            memory_total_bytes=_grant(told),
            memory_free_bytes=None,
            unified_memory=True,
        )

    def _chip(self, brand: str | None, *, translated: bool) -> str:
        name = shown(brand) or "Apple silicon"
        if "VirtualApple" in name:  # what older systems tell a translated program
            name = "Apple silicon"
        if translated:
            # The catalogue overlooks what stands in brackets.
            return f"{name} (read by a Python under Rosetta)"
        if not _BINNED.fullmatch(name):
            return name
        command = ["/usr/sbin/ioreg", "-r", "-d", "1", "-c", "AGXAccelerator"]
        cores = _CORES.search(self.sight.tool("ioreg", command).text)
        return f"{name} ({cores[1]}-core GPU)" if cores else name


def _values(answer: Answer) -> dict[str, str]:
    rows = (line.partition(":") for line in answer.text.splitlines())
    return {key.strip(): value.strip() for key, colon, value in rows if colon}


def _grant(told: dict[str, str]) -> int | None:
    """Return the bytes that Metal gives to the GPU: as somebody set it, else by its own rule."""
    total, limit_mib = (whole(told.get(name, "")) for name in _NAMES[:2])
    if total is None or not 0 < total <= _MOST_BYTES:
        return None
    if limit_mib is not None and limit_mib > 0:
        return min(limit_mib * MIB, total)
    return int(total * (_SMALL_SHARE if total <= _SMALL_BYTES else _SHARE))
