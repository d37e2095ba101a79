"""Which boxes the embedded runtime is made for."""

import os
import platform
import re
from pathlib import Path

# The oldest processor that the build has kernels for (Haswell).
_ISA = frozenset({"avx", "avx2", "bmi2", "f16c", "fma"})
_GLIBC = (2, 28)


def refusal() -> str | None:
    """Return why the embedded runtime cannot run on this box; None: nothing speaks against it."""
    return judge(platform.system(), platform.machine(), _libc(), _isa())


def judge(system: str, arch: str, libc: str, isa: frozenset[str]) -> str | None:
    """Return why not, for a box of those facts; `isa` empty: unknown, and not held against it."""
    if system != "Linux" or arch.lower() not in {"x86_64", "amd64"}:
        return f"it is made for Linux on x86-64, and this is {system} on {arch}"
    found = re.fullmatch(r"glibc (\d+)\.(\d+).*", libc)
    if not found:
        return f"it needs glibc 2.28, and this system has {libc or 'another C library'}"
    if (int(found[1]), int(found[2])) < _GLIBC:
        return f"it needs glibc 2.28, and this is {libc}"
    if isa and (lacking := _ISA - isa):
        return f"the processor lacks {', '.join(sorted(lacking))}"
    return None


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # musl knows no such name
        return ""


def _isa() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return frozenset()
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(flags[1].split()) if flags else frozenset()
