"""Sizes and durations as people write them. Memory is binary (GiB); vendors' figures are GB."""

import re
from fractions import Fraction

KIB = 1024
MIB = 1024**2
GIB = 1024**3
GB = 10**9

_FACTORS = {
    "": 1, "B": 1,
    "K": KIB, "KIB": KIB, "KB": 10**3,
    "M": MIB, "MIB": MIB, "MB": 10**6,
    "G": GIB, "GIB": GIB, "GB": GB,
    "T": 1024 * GIB, "TIB": 1024 * GIB, "TB": 10**12,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Return the bytes that `text` names: "2.5GiB", "24GB", "512M" (binary) or a bare number.

    Raises ValueError: not a non-negative number with one of those units.
    """
    found = _SIZE.fullmatch(text)
    if not found or found[2].upper() not in _FACTORS:
        raise ValueError(f"{text!r} is not a size; write it as 2.5GiB, 512MiB or 24GB")
    return int(Fraction(found[1]) * _FACTORS[found[2].upper()])


def parse_memory(text: str) -> int:
    """Return the bytes of an amount of memory: above 0, and with its unit.

    Raises ValueError: no size; 0; a bare number, of which nobody knows whether it means GiB.
    """
    found = parse_size(text)
    if text.strip().replace(".", "").isdigit() and found:
        raise ValueError(f"{text!r} has no unit; write it as 2.5GiB, 512MiB, 24GB or 4096B")
    if not found:
        raise ValueError(f"{text!r} is no memory at all; write it as 2.5GiB, 512MiB or 24GB")
    return found


def gib(size_bytes: float, digits: int = 2) -> str:
    """Return a memory size for people: "4.36 GiB", or MiB below a tenth of one."""
    if abs(size_bytes) < GIB / 10:
        return f"{size_bytes / MIB:.{0 if abs(size_bytes) >= 10 * MIB else 1}f} MiB"
    return f"{size_bytes / GIB:.{digits}f} GiB"


def gb(size_bytes: float) -> str:
    """Return a download size the way registries quote it: "4.7 GB", "98 MB"."""
    if size_bytes < GB / 10:
        return f"{size_bytes / 10**6:.0f} MB"
    return f"{size_bytes / GB:.{2 if size_bytes < 10 * GB else 1}f} GB"


def duration(seconds: float) -> str:
    """Return a duration for people: "340 ms", "4.2 s", "3 min 05 s", "1 h 02 min"."""
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?(s|min|m|h|d|)", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of a duration as people write it: "90", "90s", "5m", "1h30m", "7d".

    Raises ValueError: it is none.
    """
    rest, total = text.strip().lower(), 0.0
    while rest:
        if not (found := _PART.match(rest)):
            raise ValueError(f"{text!r} is no duration: write 90s, 5m or 1h")
        total += float(found[1]) * _SECONDS[found[2]]
        rest = rest[found.end() :].lstrip()
    if not total:
        raise ValueError(f"{text!r} is no duration: write 90s, 5m or 1h")
    return total
