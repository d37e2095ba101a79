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


def compared(name: str, ours: dict[str, int], log: dict[str, int]) -> float:
    """Print how far ours are from the log's, as `make perf` shows it; return the total's error."""
    beside = log.get("compute", 0) + log.get("output", 0)
    theirs = {"model": log["model"], "KV": log["KV"], "compute": beside}
    errors = {kind: ours[kind] / theirs[kind] - 1 for kind in theirs}
    total = sum(ours.values()) / sum(theirs.values()) - 1
    parts = "  ".join(f"{kind} {error:+.2%}" for kind, error in errors.items())
    print(f"\n{name:50} {parts}  total {total:+.2%}", end="")  # noqa: T201 - for `make perf`
    return total
