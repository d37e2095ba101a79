"""Published measurements against what the product itself predicts, by tag and card."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator import fit
from orchestrator.catalog.accelerators import accelerator_facts
from orchestrator.catalog.requantized import requantized
from orchestrator.era import NEWEST
from orchestrator.machine import ServerSettings
from orchestrator.memory import Run
from orchestrator.placement import Load, Placement, Share
from orchestrator.speed import predict
from orchestrator.units import GIB
from tests.shapes import CATALOG, box

DATA = Path(__file__).resolve().parents[2] / "scripts" / "speed"


@dataclass(frozen=True, slots=True)
class Judged:
    device: str
    model: str
    measured: float
    low: float
    likely: float
    high: float

    @property
    def off(self) -> float:
        return abs(self.likely / self.measured - 1)

    @property
    def inside(self) -> bool:
        return self.low <= self.measured <= self.high


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load_of(tag: str, quantization: str) -> Load:
    found = CATALOG.find(tag)
    if found.quantization != quantization:
        found = requantized(CATALOG, found, quantization)
    run = Run(context=4096, version=NEWEST, flash_attention=True)
    return fit.load_of(found, run, "cuda", ServerSettings())


def in_catalogue() -> set[tuple[str, str]]:
    ours = [m for m in rows("models") if m["source"].startswith("catalogue")]
    return {(m["model"], m["quantization"]) for m in ours}


def judged(name: str) -> Iterator[Judged]:
    """Yield the rows whose model is in the catalogue, on their cards as a machine file has them."""
    ours = in_catalogue()
    for row in rows(name):
        if (row["model"], row["quantization"]) not in ours:
            continue
        facts = accelerator_facts(row["device"])
        assert facts, row["device"]
        count = int(row["count"])
        machine = box(1024, *[(row["device"], facts.memory_bytes / GIB)] * count)
        load = load_of(row["model"], row["quantization"])
        target = fit.target_of(CATALOG.find(row["model"]), None)
        found = predict(target, load, whole(load, count), machine)
        assert found
        low, likely, high = found.decode_tps
        yield Judged(row["device"], row["model"], float(row["decode_tps"]), low, likely, high)


def whole(load: Load, count: int) -> Placement:
    """Return all layers on `count` cards in equal parts, the output on the last."""
    blocks = load.shape.block_count
    ends = [blocks * (i + 1) // count for i in range(count)]
    shares = tuple(
        Share(index=i, layers=end - start, output=i == count - 1)
        for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    )
    return Placement(shares=shares, total_layers=load.shape.layers)


def median(values: list[float]) -> float:
    return sorted(values)[math.floor(len(values) / 2)]
