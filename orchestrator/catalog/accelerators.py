"""What an accelerator can do, by the name that its driver reports."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pkgutil import get_data
from typing import Any

from orchestrator.machine import Vendor
from orchestrator.units import GIB

_OURS = re.compile(r"\s*\([^()]*\)\s*$")
_MARKS = re.compile(r"\((?:r|tm)\)")
_MEMORY = re.compile(r"(\d+)\s?gi?b")
_FORM = re.compile(r"pcie|sxm\d?|nvl|hbm\d?e?")
# Drivers, vendors and people put these in front or leave them out; no two cards differ by them.
_BRANDS = {
    "nvidia", "amd", "intel", "huawei", "ascend", "geforce", "tesla", "quadro", "radeon",
    "graphics", "generation",
}  # fmt: skip
# Metal grants the GPU two thirds or three quarters of the memory that was bought.
_GRANTS = (1.0, 0.75, 2 / 3)
_MEMORY_TOLERANCE = 0.15  # drivers show up to 5 % less than is marketed; a version differs by 25 %


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceleratorFacts:
    """One product, from public sheets. Rates are peaks: dense, FP32 accumulation; None: unknown.

    `memory_bytes` is the marketed size, which drivers undercut a little. `gfx` is AMD's
    architecture name. `confidence` is high, medium or low (sources disagree).
    """

    name: str
    vendor: Vendor
    architecture: str
    memory_bytes: int
    memory_type: str
    bandwidth_bytes_per_s: int
    compute_capability: str | None = None
    gfx: str | None = None
    fp16_flops: float | None = None
    fp32_flops: float | None = None
    datacenter: bool = False
    workstation: bool = False
    laptop: bool = False
    unified_memory: bool = False
    ollama_supported: bool = True
    confidence: str = "high"
    note: str | None = None
    sources: tuple[str, ...] = ()


def accelerator_facts(name: str, vram_bytes: int | None = None) -> AcceleratorFacts | None:
    """Return the facts of the product that a driver calls `name`; None: not in the catalogue.

    Case, vendor and brand words do not matter. Where several versions share the name, memory in
    the name, else `vram_bytes`, picks; what is still open is the slowest, so that nothing is
    promised that only a faster version keeps. A part of a card (MIG, vGPU) is not the card.
    """
    plain = _plain(name)
    words, bought = _words(_unmarked(plain)), _memory(plain)
    versions = _index().get(_core(words), [])
    marked = plain != _unmarked(plain)
    same = [row for row in versions if marked and _plain(row["name"]) == plain]
    exact = same or [row for row in versions if _words(_unmarked(_plain(row["name"]))) == words]
    found = exact or [row for row in versions if _agrees(row, words)]
    if not exact and bought is not None:
        # A size in a name that is not quite a product's is part of the name: no GTX 1060 3GB here.
        found = [row for row in found if _distance(row, bought) <= _MEMORY_TOLERANCE]
    elif bought is None and vram_bytes and found:
        least = min(_distance(row, vram_bytes / GIB) for row in found)
        found = [row for row in found if _distance(row, vram_bytes / GIB) == least]
    if not found:
        return None
    # Unmarked, a name means the version that has no suffix of ours.
    found = [row for row in found if row["name"] == _unmarked(row["name"])] or found
    return _facts(min(found, key=lambda row: float(row["bandwidth_gbs"])))


def _plain(name: str) -> str:
    return _MARKS.sub("", name.lower()).strip()


def _unmarked(name: str) -> str:
    return _OURS.sub("", name)


def _words(plain: str) -> tuple[str, ...]:
    return tuple(w for w in re.split(r"[\s/_-]+", plain) if w and w not in _BRANDS)


def _core(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words without form factor and memory: what the versions of a product share."""
    return tuple(w for w in words if not (_FORM.fullmatch(w) or _MEMORY.fullmatch(w)))


def _memory(plain: str) -> float | None:
    """Return the one memory size in a name, in GiB; None: it names none, or a choice."""
    found = _MEMORY.findall(plain)
    return float(found[0]) if len(found) == 1 else None


def _agrees(row: dict[str, Any], words: tuple[str, ...]) -> bool:
    """Say whether a version has every form-factor word of the name that was asked for."""
    own = {*_words(_plain(row["name"])), *_words(_plain(row.get("form", "")))}
    return all(w in own for w in words if _FORM.fullmatch(w))


def _distance(row: dict[str, Any], gib: float) -> float:
    sizes = [float(size) for size in (row["vram_gb"], *row.get("memory_options_gb", ()))]
    shares = _GRANTS if row["vendor"] == "apple" else _GRANTS[:1]
    return min(abs(gib / (size * share) - 1) for size in sizes for share in shares)


def _facts(row: dict[str, Any]) -> AcceleratorFacts:
    fp16, fp32 = row.get("fp16_tflops_dense"), row.get("fp32_tflops")
    return AcceleratorFacts(
        name=row["name"],
        vendor=row["vendor"],
        architecture=row["arch"],
        memory_bytes=row["vram_gb"] * GIB,
        memory_type=row["memory_type"],
        bandwidth_bytes_per_s=round(row["bandwidth_gbs"] * 10**9),
        compute_capability=row.get("compute_capability"),
        gfx=row.get("gfx"),
        fp16_flops=None if fp16 is None else fp16 * 1e12,
        fp32_flops=None if fp32 is None else fp32 * 1e12,
        datacenter=row.get("datacenter", False),
        workstation=row.get("workstation", False),
        laptop=row.get("laptop", False),
        unified_memory=row.get("unified_memory", False),
        ollama_supported=row.get("ollama_supported", False),
        confidence=row["confidence"],
        note=row.get("note"),
        sources=tuple(_document()["sources"][i] for i in row["sources"]),
    )


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(get_data(__package__, "accelerators.json") or b"{}")
    return document


@cache
def _index() -> dict[tuple[str, ...], list[dict[str, Any]]]:
    index = defaultdict(list)
    for row in _document()["accelerators"]:
        index[_core(_words(_unmarked(_plain(row["name"]))))].append(row)
    return dict(index)
