"""NVIDIA's Jetson boards: their GPU shares the host's memory, and older systems have no NVML."""

import re

from orchestrator.fault import Fault
from orchestrator.machine import Accelerator
from orchestrator.probe.sight import Sight

_RELEASE, _MODEL = "/etc/nv_tegra_release", "/proc/device-tree/model"
_BOARD = re.compile(r"\b((?:AGX )?(Thor|Orin|Xavier|TX2|TX1|Nano)(?: (?:NX|Nano))?)\b")
_CAPABILITIES = {"Thor": "11.0", "Orin": "8.7", "Xavier": "7.2", "TX2": "6.2", "TX1": "5.3"} | {
    "Nano": "5.3"
}
# Ollama is built for JetPack 5 and 6, and JetPack 7 runs its common build.
_OLDEST_RELEASE = 35
_LEFT_BEHIND = frozenset({"TX2", "TX1", "Nano"})  # boards that JetPack 5 does not run on


def jetson(sight: Sight) -> Accelerator | None:
    """Return the GPU of a Jetson as the board's own files tell it; None: this is no Jetson."""
    release = re.search(r"\bR([0-9]{1,3}) \(release\)", sight.text(_RELEASE))
    if release is None:
        return None
    name = jetson_name(sight) or "Tegra"  # a carrier board of another maker
    family = name.partition(" ")[0]
    fault = _old(int(release[1]), family)
    return Accelerator(
        vendor="nvidia",
        name=name,
        index=0,
        memory_total_bytes=None,
        memory_free_bytes=None,
        compute_capability=_CAPABILITIES.get(family),
        unified_memory=True,
        usable=fault is None,
        unusable_reason=fault.text if fault else None,
        remedy=fault.remedy if fault else None,
    )


def _old(release: int, family: str) -> Fault | None:
    """Return why Ollama does not run on a release of the system, None where it does."""
    if release >= _OLDEST_RELEASE:
        return None
    what = f"its system is L4T R{release}; Ollama needs R35 (JetPack 5) or newer"
    return Fault(what, None if family in _LEFT_BEHIND else "install JetPack 5 or newer")


def jetson_name(sight: Sight) -> str | None:
    """Return the GPU and its board with the memory that was sold: "Orin (Jetson Orin NX 16GB)".

    The driver says no more than "Orin", and their bandwidths differ threefold.
    """
    found = _BOARD.search(sight.text(_MODEL))
    if found is None:
        return None
    board, family = found.groups()
    size_kb = re.search(r"^MemTotal:\s+([0-9]{1,15}) kB", sight.text("/proc/meminfo"), re.MULTILINE)
    # The firmware keeps a part for itself: 64 GB show as 61 GiB. Boards are sold in powers of two.
    size = f" {1 << ((int(size_kb[1]) - 1) >> 20).bit_length()}GB" if size_kb else ""
    return f"{family} (Jetson {board}{size})"
