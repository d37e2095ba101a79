"""A deployment as a record: what was asked, planned and measured, under which names it serves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.bench.verdict import Verdict
from orchestrator.era import Era
from orchestrator.estimate import Estimate
from orchestrator.fit import Fit, Rejection
from orchestrator.machine import Machine
from orchestrator.model import ModelRef
from orchestrator.profile import Profile

_LEARNT_FOR = timedelta(hours=24)
_LEARNT = ("unavailable", "memory", "speed", "unsupported")


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """`alias` is what clients use; `model` the derived model with its context fixed."""

    alias: str
    model: str

    @classmethod
    def of(cls, tag: str, context: int, alias: str) -> "Names":
        """Return the names of a deployment. NAME is kept: Ollama strips old <think> by it."""
        ref = ModelRef.parse(tag)
        return cls(alias=f"{alias}:latest", model=f"deploy/{ref.name}:{ref.tag}-ctx{context}")


def parameters(fit: Fit, machine: Machine) -> dict[str, object]:
    """Return what the derived model fixes: the context, and before 0.30 the layers on GPU."""
    run = fit.estimate.load.run
    fixed: dict[str, object] = {"num_ctx": run.context}
    if machine.usable and run.version.era is not Era.LLAMA_SERVER:
        fixed["num_gpu"] = fit.placement.gpu_layers
    elif machine.usable and fit.placement.kind == "cpu":
        fixed["num_gpu"] = 0
    return fixed


def learnt(current: Mapping[str, Any] | None) -> dict[str, Rejection]:
    """Return what the run that made `current` found out beyond its plan, for a day."""
    if current is None:
        return {}
    then = datetime.fromisoformat(current["deployed_at"])
    if datetime.now(UTC) - then > _LEARNT_FOR:
        return {}
    return {
        r["tag"]: Rejection(
            tag=r["tag"], reason=r["reason"], detail=r["detail"], short_by_bytes=r["short_by_bytes"]
        )
        for r in current["rejected"]
        if r.get("learnt") and r["reason"] in _LEARNT
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """Everything that one deployment's document is written from."""

    fit: Fit
    names: Names
    profile: Profile
    machine: Machine
    server_host: str
    source: str
    model_digest: str
    blob: str | None
    asked: Mapping[str, Any]
    ruled_out: Mapping[str, Rejection]
    rejected: Sequence[Rejection]

    def to_json(
        self, state: str, estimate: Estimate, bench: Mapping[str, Any], verdict: Verdict
    ) -> dict[str, Any]:
        """Return the deployment document (schema `deployment`)."""
        run = estimate.load.run
        return {
            "schema": 1,
            "id": None,
            "state": state,
            "tag": self.fit.candidate.tag,
            "alias": self.names.alias,
            "model": self.names.model,
            "reference": self.fit.candidate.model,
            "digest": self.model_digest,
            "blob": self.blob,
            "architecture": self.fit.candidate.architecture.name,
            "quantization": self.fit.candidate.quantization,
            "source": self.source,
            "server_host": self.server_host,
            "server_version": self.machine.server.version,
            "runtime": self.machine.server.runtime,
            "machine": {"name": self.machine.name, "digest": self.machine.digest},
            "profile": self.profile.name,
            "deployed_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "context": run.context,
            "parallel": run.parallel,
            "placement": estimate.placement.kind,
            "settings": parameters(self.fit, self.machine),
            "requested": dict(self.asked),
            "planned": _planned(estimate),
            "measured": _measured(bench),
            "verdict": verdict.to_json(),
            "rejected": [{**r.to_json(), "learnt": r.tag in self.ruled_out} for r in self.rejected],
            "changed": True,
        }


def _planned(estimate: Estimate) -> dict[str, Any]:
    return {
        "total_bytes": estimate.total_bytes,
        "resident_bytes": estimate.resident_bytes,
        "devices": [{"index": d.index, "bytes": d.bytes} for d in estimate.devices],
        "decode_tps": estimate.speed.decode_tps[1] if estimate.speed else None,
    }


def _measured(bench: Mapping[str, Any]) -> dict[str, Any]:
    metrics = bench["metrics"]
    medians = {name: m["median"] if m else None for name, m in metrics.items()}
    return {
        "resident_bytes": bench["memory"]["resident_bytes"],
        "devices": bench["memory"]["devices"],
        "decode_tps": medians["decode_tps"],
        "prefill_tps": medians["prefill_tps"],
        "ttft_s": medians["ttft_s"],
        "load_s": medians["load_s"],
    }
