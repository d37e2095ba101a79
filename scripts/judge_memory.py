"""Hold the memory estimate against the buffers and layers that real servers logged.

scripts/evidence/server_logs.json has the lines of public logs, each with its source. Nothing is
fitted here: shape, version, settings and cards of a run go in, the log's figures are compared.

    python scripts/judge_memory.py            the runs that are off by more than 0.1 %, and the sum
    python scripts/judge_memory.py --all      every run
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from orchestrator.catalog import Catalog
from orchestrator.engine import flash_by_default
from orchestrator.era import ServerVersion
from orchestrator.estimate import estimate
from orchestrator.gguf.layout import laid_out
from orchestrator.memory import Run
from orchestrator.model import Architecture, Target
from orchestrator.placement import Card, Load, Placement, contiguous, place
from orchestrator.units import MIB

EVIDENCE = Path(__file__).with_name("evidence") / "server_logs.json"
Row = dict[str, Any]
_NUMBERS = (
    "block_count", "embedding_length", "feed_forward_length", "head_count", "head_count_kv",
    "vocab_size",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judgement:
    """Signed errors, ours against the log's; None: the log does not say."""

    name: str
    weights: float | None
    cache: float
    compute: float
    total: float
    layers: int | None


def judged() -> Iterator[Judgement]:
    """Judge every run of the evidence."""
    for row in json.loads(EVIDENCE.read_text())["runs"]:
        yield judge(row)


def judge(row: Row) -> Judgement:
    """Compare one run with what we say of it."""
    load = load_of(row)
    ours = estimate(_TARGET, load, _placement(row, load))
    said = {k: sum(row[f"{k}_mib"].values()) * MIB for k in ("model", "kv", "compute", "output")}
    # A mapped file that is partly offloaded shows its whole range on the host, twice.
    whole = not row.get("gpu_layers") or row["gpu_layers"] > row["block_count"]
    weights = said["model"] if whole else ours.weights_bytes
    compute = said["compute"] + said["output"]
    total = weights + said["kv"] + compute
    return Judgement(
        name=_name(row, load.run),
        weights=_error(ours.weights_bytes, weights) if whole else None,
        cache=_error(ours.kv_cache_bytes, said["kv"]),
        compute=_error(ours.compute_bytes, compute),
        total=_error(ours.total_bytes - ours.overhead_bytes, total),
        layers=_layers(row, load),
    )


_TARGET = Target(model="", quantization="", file_bytes=0, parameters_active=1, parameters_total=1)


def load_of(row: Row) -> Load:
    """Return what the server of that run loaded."""
    shape, version = _shape(row), ServerVersion.parse(row["version"])
    flash = row["flash_attention"]
    run = Run(
        context=row["context_total"] // row["parallel"],
        parallel=row["parallel"],
        kv_cache_type=row["kv_cache_type"],
        flash_attention=flash_by_default(shape, version) if flash is None else flash,
        num_batch=row["num_batch"],
        version=version,
    )
    return Load(
        shape=shape,
        weights=laid_out(shape, row["quantization"]),
        run=run,
        device=row["device"],
        overhead_bytes=int(row.get("gpu_overhead_mib", 0) * MIB),
    )


def _shape(row: Row) -> Architecture:
    if row["architecture"] == "deepseek2":  # a log does not name all that this one needs
        return Catalog.bundled().find("deepseek-coder-v2:16b").architecture
    heads = 128 if row["architecture"] == "qwen3" else row["embedding_length"] // row["head_count"]
    return Architecture(
        name=row["architecture"],
        **{key: row[key] for key in _NUMBERS},
        key_length=heads,
        value_length=heads,
        context_length=2**31,
        tied_embeddings=row["tied_embeddings"],
    )


def _placement(row: Row, load: Load) -> Placement:
    """Return where the layers went, by the log: buffers are judged apart from placement."""
    counts = row.get("split") or [row.get("gpu_layers", 0)]
    cards = [Card(index=i, free_bytes=0) for i in range(len(counts))]
    return Placement(shares=contiguous(load, cards, counts), total_layers=load.shape.layers)


def _layers(row: Row, load: Load) -> int | None:
    """Return by how many layers our placement is off."""
    if "free_mib" not in row:
        return None
    metal = row["device"] == "metal"
    cards = [
        Card(index=i, free_bytes=int(mib * MIB), metal=metal)
        for i, mib in enumerate(row["free_mib"])
    ]
    return place(load, cards).gpu_layers - int(row["gpu_layers"])


def _error(ours: int, theirs: float) -> float:
    return (ours - theirs) / theirs


def _name(row: Row, run: Run) -> str:
    flash = "flash" if run.flash_attention else "no flash"
    where = f"{row.get('gpu_layers', 0)}/{row['block_count'] + 1} {row['device']}"
    what = f"{row['version']:8} {row['model'][:28]:28} {row['quantization']:7}"
    return f"{what} {run.context_total:>6} x {run.parallel} {flash:8} {where:12}"


def summary(found: list[Judgement]) -> dict[str, float]:
    """Return the figures that the documentation states."""
    totals = [abs(j.total) for j in found]
    layers = [abs(j.layers) for j in found if j.layers is not None]
    weights = [abs(j.weights) for j in found if j.weights is not None]
    return {
        "runs": len(found),
        "total_median": median(totals),
        "total_p90": quantiles(totals, n=10)[-1],
        "total_lowest": min(j.total for j in found),
        "weights_worst": max(weights),
        "cache_worst": max(abs(j.cache) for j in found),
        "placed": len(layers),
        "layers_exact": layers.count(0) / len(layers),
        "layers_within_one": sum(n <= 1 for n in layers) / len(layers),
    }


_COUNTS = ("runs", "placed")


def main() -> None:
    """Print the runs that are off, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every run, not only those that are off")
    everything = parser.parse_args().all
    found = list(judged())
    for each in found:
        if everything or abs(each.total) > 0.001 or each.layers:
            layers = "" if each.layers is None else f"  layers {each.layers:+d}"
            print(f"{each.name} total {each.total:+.2%}  compute {each.compute:+.1%}{layers}")
    for key, value in summary(found).items():
        print(f"{key:18} {value}" if key in _COUNTS else f"{key:18} {value:.3%}")


if __name__ == "__main__":
    main()
