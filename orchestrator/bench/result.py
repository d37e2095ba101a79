"""The document of a measurement: every number with its conditions, every sample kept."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.bench.run import Measurement
from orchestrator.bench.sampler import MemoryPeak
from orchestrator.bench.stats import Summary, summarize
from orchestrator.bench.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """One model on one server, measured. `started_at` is ISO 8601 in UTC.

    `loads_s` are durations of cold loads only: a load that finds the model in memory is none.
    `server_claim_bytes` is what /api/ps says, a prediction of the server; it is never graded.
    """

    model: str
    digest: str | None
    quantization: str | None
    server_version: str | None
    runtime: str | None
    machine_name: str
    machine_digest: str
    started_at: str
    options: Mapping[str, object]
    parallel: int | None
    kv_cache_type: str | None
    measurement: Measurement
    loads_s: Sequence[float] = ()
    memory: MemoryPeak | None = None
    server_claim_bytes: int | None = None
    verdict: Verdict | None = None

    @property
    def metrics(self) -> dict[str, Summary | None]:
        """decode_tps, prefill_tps, ttft_s and load_s; None where nothing counts."""
        loads = summarize([[s] for s in self.loads_s], unit="s")
        return {**self.measurement.metrics(), "load_s": loads}

    def to_json(self) -> dict[str, Any]:
        """Return the bench document (schema `bench`)."""
        run, plan = self.measurement, self.measurement.plan
        return {
            "schema": 1,
            "model": self.model,
            "digest": self.digest,
            "quantization": self.quantization,
            "server_version": self.server_version,
            "runtime": self.runtime,
            "machine": {"name": self.machine_name, "digest": self.machine_digest},
            "started_at": self.started_at,
            "options": dict(self.options),
            "context": self.options.get("num_ctx"),
            "parallel": self.parallel,
            "kv_cache_type": self.kv_cache_type,
            "prompt": {
                "tokens": plan.prompt_tokens,
                "exact": plan.calibration.exact,
                "seed": run.seed,
                "calibration": {
                    **asdict(plan.calibration),
                    "words": list(plan.calibration.words),
                },
            },
            "generate_tokens": plan.generate_tokens,
            "stopped": run.stopped,
            "wall_s": run.wall_s,
            "clocks_disagree": run.clocks_disagree,
            "metrics": {k: v and v.to_json() for k, v in self.metrics.items()},
            "samples": [s.to_json() for s in run.samples],
            "rejected": run.rejected,
            "noise": {**asdict(run.noise), "noisy_samples": sum(s.noisy for s in run.accepted)},
            "memory": self._memory(),
            "verdict": self.verdict and self.verdict.to_json(),
        }

    def _memory(self) -> dict[str, Any]:
        peak = self.memory
        return {
            "resident_bytes": peak and peak.resident_bytes,
            "resident_how": "not measured" if peak is None else peak.resident_how,
            "pss_bytes": peak and peak.pss_bytes,
            "devices": [] if peak is None else [asdict(d) for d in peak.devices],
            "devices_how": "not measured" if peak is None else peak.devices_how,
            "server_claim_bytes": self.server_claim_bytes,
        }
