"""The document of a measurement: every number with its conditions, every sample kept."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.bench.buffers import Parts
from orchestrator.bench.comparison import key
from orchestrator.bench.effective import Effective
from orchestrator.bench.level import Level
from orchestrator.bench.loads import Load
from orchestrator.bench.measurement import Measurement
from orchestrator.bench.sampler import MemoryPeak
from orchestrator.bench.stats import Summary, summarize
from orchestrator.bench.thinking import Thinking
from orchestrator.bench.verdict import Verdict
from orchestrator.estimate import Estimate
from orchestrator.machine import Machine


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """One model on one server, measured. `started_at` is ISO 8601 in UTC.

    `blob` is the digest of the weights, `digest` that of the model. `promised` counts the longest
    prompt that was sent. `server_claim_bytes` is what /api/ps says, a prediction of the server; it
    is never graded. `parts` are the engine's own buffers; None: the log does not tell them.
    """

    model: str
    digest: str | None
    blob: str | None
    machine: Machine
    started_at: str
    took_s: float
    effort: str
    time_budget_s: float | None
    options: Mapping[str, object]
    promised: Estimate
    effective: Effective
    measurement: Measurement
    loads: Sequence[Load] = ()
    thinking: Thinking | None = None
    concurrency: Sequence[Level] = ()
    left_out: Sequence[str] = ()
    memory: MemoryPeak | None = None
    parts: Parts | None = None
    server_claim_bytes: int | None = None
    verdict: Verdict | None = None

    @property
    def metrics(self) -> dict[str, Summary | None]:
        """decode_tps, prefill_tps, ttft_s, load_s and load_cold_s; None where nothing counts."""
        cold = [[load.wall_s] for load in self.loads if load.file_cache == "cold"]
        rest = [[load.wall_s] for load in self.loads if load.file_cache in ("warm", "unknown")]
        rest = rest or [[load.wall_s] for load in self.loads if load.file_cache == "partly"]
        return {
            **self.measurement.metrics(),
            "load_s": summarize(rest, unit="s"),
            "load_cold_s": summarize(cold, unit="s"),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the bench document (schema `bench`), which no ledger has numbered yet."""
        run = self.measurement
        document = {
            "schema": 1,
            "id": None,
            **self.conditions(),
            "prompt": self._prompt(),
            "generate_tokens": run.plan.generate_tokens,
            "stopped": run.stopped,
            "wall_s": self.took_s,
            "clocks_disagree": run.clocks_disagree,
            "metrics": {k: v and v.to_json() for k, v in self.metrics.items()},
            "cells": run.cells(),
            "left_out": [*run.plan.left_out, *self.left_out],
            "loads": [asdict(load) for load in self.loads],
            "thinking": self.thinking and self.thinking.to_json(),
            "concurrency": [level.to_json() for level in self.concurrency],
            "samples": [s.to_json() for s in run.samples],
            "rejected": run.rejected,
            "noise": {**asdict(run.noise), "noisy_samples": sum(s.noisy for s in run.accepted)},
            "memory": self._memory(),
            "verdict": self.verdict and self.verdict.to_json(),
            "comparison": None,
        }
        return {**document, "key": key(document)}

    def conditions(self) -> dict[str, Any]:
        """Return under which conditions the numbers were taken, and what had been promised."""
        return {
            **subject_json(
                model=self.model,
                digest=self.digest,
                blob=self.blob,
                machine=self.machine,
                options=self.options,
                promised=self.promised,
            ),
            "started_at": self.started_at,
            "effort": self.effort,
            "time_budget_s": self.time_budget_s,
            "promised": promised_json(self.promised),
            "effective": self.effective.to_json(),
        }

    def _prompt(self) -> dict[str, Any]:
        plan = self.measurement.plan
        return {
            "tokens": plan.prompt_tokens,
            "exact": plan.calibration.exact,
            "seed": self.measurement.seed,
            "calibration": {**asdict(plan.calibration), "words": list(plan.calibration.words)},
        }

    def _memory(self) -> dict[str, Any]:
        peak, filled = self.memory, self.measurement.filled_tokens
        context = self.promised.load.run.context
        return {
            "resident_bytes": peak and peak.resident_bytes,
            "resident_how": "not measured" if peak is None else peak.resident_how,
            "pss_bytes": peak and peak.pss_bytes,
            "devices": [] if peak is None else [asdict(d) for d in peak.devices],
            "devices_how": "not measured" if peak is None else peak.devices_how,
            "server_claim_bytes": self.server_claim_bytes,
            "filled_tokens": filled,
            "filled_share": filled / context,
            "parts": self.parts and self.parts.to_json(),
        }


def subject_json(
    *,
    model: str,
    digest: str | None,
    blob: str | None,
    machine: Machine,
    options: Mapping[str, object],
    promised: Estimate,
) -> dict[str, Any]:
    """Return what is measured where, with which settings: what the key of a run is made of."""
    run, server = promised.load.run, machine.server
    return {
        "model": model,
        "digest": digest,
        "blob": blob,
        "quantization": promised.target.quantization,
        "architecture": promised.load.shape.name,
        "server_version": server.version,
        "runtime": server.runtime,
        "machine": {"name": machine.name, "digest": machine.digest},
        "options": dict(options),
        "context": options.get("num_ctx"),
        "parallel": run.parallel,
        "kv_cache_type": run.kv_cache_type,
        "flash_attention": run.flash_attention,
        "placement": promised.placement.kind,
    }


def promised_json(estimate: Estimate) -> dict[str, Any]:
    """Return what an estimate promises, as the bench document carries it."""
    speed = estimate.speed
    return {
        "weights_bytes": estimate.weights_bytes,
        "kv_cache_bytes": estimate.kv_cache_bytes,
        "compute_bytes": estimate.compute_bytes,
        "overhead_bytes": estimate.overhead_bytes,
        "total_bytes": estimate.total_bytes,
        "resident_bytes": estimate.resident_bytes,
        "host_bytes": estimate.host_bytes,
        "prompt_tokens": estimate.resident_prompt_tokens,
        "devices": [{"index": d.index, "bytes": d.bytes} for d in estimate.devices],
        "decode_tps": speed and list(speed.decode_tps),
        "prefill_tps": speed and list(speed.prefill_tps),
        "load_s": speed and list(speed.load_s),
    }
