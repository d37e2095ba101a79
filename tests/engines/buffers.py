"""The "buffer size" lines of an engine's log."""

import re

from orchestrator.units import MIB

_LINE = re.compile(r"(\w+) +(model|KV|compute|output|RS) buffer size += +([\d.]+) MiB")


def logged_bytes(log: str) -> dict[str, int]:
    """Return the bytes of all buffers of a kind, of the last load in the log."""
    found: dict[str, dict[str, float]] = {}
    for device, kind, mib in _LINE.findall(log):
        found.setdefault(kind, {})[device] = float(mib)
    return {kind: round(sum(sizes.values()) * MIB) for kind, sizes in found.items()}
