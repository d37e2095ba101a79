"""Runs as the ledger lists them, written out for estimates that were off by a known factor."""

from typing import Any

from orchestrator.estimate import Estimate
from orchestrator.fit import Fit
from orchestrator.grade import Deployed, Grades, grade
from orchestrator.machine import Machine


def run_of(
    found: Estimate, machine: Machine, *, memory: float = 1.0, speed: float = 1.0, **changes: Any
) -> dict[str, Any]:
    """Return the run of what was estimated: it took `memory` times that, at `speed` times that."""
    promised = {
        "resident_bytes": found.resident_bytes,
        "vram_bytes": sum(d.bytes for d in found.devices) or None,
        "decode_tps": found.speed.decode_tps[1] if found.speed else None,
    }
    by = {"resident_bytes": memory, "vram_bytes": memory, "decode_tps": speed}
    return {
        "id": 1,
        "machine": machine.digest,
        "server_version": machine.server.version,
        "runtime": machine.server.runtime,
        "architecture": found.load.shape.name,
        "quantization": found.target.quantization,
        "placement": found.placement.kind,
        "context": found.load.run.context,
        "parallel": found.load.run.parallel,
        "verdict": "passed",
        "noisy": False,
        **{f"promised_{name}": value for name, value in promised.items()},
        **{name: value and value * by[name] for name, value in promised.items()},
        **changes,
    }


def graded_by(*rows: dict[str, Any], deployed: Fit | None = None) -> Grades:
    """Return the grades of runs, newest first, on a box where `deployed` serves."""
    numbered = [{**row, "id": len(rows) - i} for i, row in enumerate(rows)]
    serves = None if deployed is None else as_deployed(deployed)
    return Grades(by_key=grade(numbered), deployed=serves)


def as_deployed(fit: Fit) -> Deployed:
    """Return a fit as what serves."""
    run = fit.estimate.load.run
    return Deployed(
        tag=fit.candidate.tag,
        placement=fit.placement.kind,
        context=run.context,
        parallel=run.parallel,
    )
