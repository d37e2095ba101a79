"""A deployment as a record: what was asked, planned and measured, under which names it serves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from orchestrator.era import Era
from orchestrator.estimate import Estimate
from orchestrator.fit import Fit, Rejection
from orchestrator.machine import Machine
from orchestrator.model import ModelRef
from orchestrator.profile import Profile

if TYPE_CHECKING:
    from orchestrator.proof import Proof

FOUND_THERE = "the server's store"
"""The source of a model that deploy did not download."""
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
    """Return what the derived model fixes: the context; before 0.30 the layers on GPU, and later
    the batch, which the server would choose by what is free at that moment; on the CPU the threads
    where it would start more than a quota or a cpuset leaves it cores.
    """
    run = fit.estimate.load.run
    fixed: dict[str, object] = {"num_ctx": run.context}
    if run.version.era is Era.LLAMA_SERVER:
        fixed["num_batch"] = run.num_batch
    if machine.usable and run.version.era is not Era.LLAMA_SERVER:
        fixed["num_gpu"] = fit.placement.gpu_layers
    elif machine.usable and fit.placement.kind == "cpu":
        fixed["num_gpu"] = 0
    if machine.host.told_threads and fit.placement.kind != "gpu":
        fixed["num_thread"] = machine.host.told_threads
    return fixed


def suffixed(names: Names, tag_digest: str | None, settings: Mapping[str, object]) -> Names:
    """Return names whose derived model is told from another of that name by what it is made of:
    the pulled model's manifest (weights, template and all) and the settings.
    """
    text = json.dumps([tag_digest, settings], sort_keys=True)
    return replace(names, model=f"{names.model}-{sha256(text.encode()).hexdigest()[:6]}")


def learnt(current: Mapping[str, Any] | None, *, named: bool) -> dict[str, Rejection]:
    """Return what must not be tried again: what a rollback went away from, for as long as it
    lasts and nobody names it; what the run that made `current` found out, for a day.
    """
    if current is None:
        return {}
    out = {} if named else _rolled_back(current)
    then = datetime.fromisoformat(current["deployed_at"])
    if datetime.now(UTC) - then > _LEARNT_FOR:
        return out
    return out | {
        r["tag"]: Rejection(
            tag=r["tag"], reason=r["reason"], detail=r["detail"], short_by_bytes=r["short_by_bytes"]
        )
        for r in current["rejected"]
        if r.get("learnt") and r["reason"] in _LEARNT
    }


def _rolled_back(current: Mapping[str, Any]) -> dict[str, Rejection]:
    left = current["rolled_back_from"]
    if not left or left["tag"] == current["tag"]:  # another context of what serves
        return {}
    said = f"rolled back at {left['at']}; `deploy auto {left['tag']}` deploys it again"
    return {left["tag"]: Rejection(tag=left["tag"], reason="policy", detail=said)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """Everything that one deployment's document is written from.

    Until the model is derived its digests are unknown: None. `pulled_as` is the longer name that
    a download has until it is complete; None: it has none, or that name was there before.
    `rehearsal` is what a stand-in proved before the download, `why` the plan's reason for the pick.
    """

    fit: Fit
    names: Names
    profile: Profile
    machine: Machine
    server_host: str
    source: str
    asked: Mapping[str, Any]
    ruled_out: Mapping[str, Rejection]
    rejected: Sequence[Rejection]
    model_digest: str | None = None
    tag_digest: str | None = None
    blob: str | None = None
    layers: Sequence[Mapping[str, Any]] | None = None
    differences: Sequence[str] = ()
    pulled_as: str | None = None
    rehearsal: Mapping[str, Any] | None = None
    why: str | None = None

    @property
    def settings(self) -> dict[str, object]:
        """What the derived model fixes."""
        return parameters(self.fit, self.machine)

    def to_json(
        self, proof: "Proof | None" = None, *, gap_s: float | None = None
    ) -> dict[str, Any]:
        """Return the deployment document (schema `deployment`); without `proof` a candidate's."""
        estimate = proof.estimate if proof else self.fit.estimate
        run = estimate.load.run
        return {
            "schema": 1,
            "id": None,
            "state": "candidate",
            "tag": self.fit.candidate.tag,
            "alias": self.names.alias,
            "model": self.names.model,
            "reference": self.fit.candidate.model,
            "digest": self.model_digest,
            "tag_digest": self.tag_digest,
            "blob": self.blob,
            "layers": self.layers,
            "differences": list(self.differences),
            "architecture": self.fit.candidate.architecture.name,
            "quantization": self.fit.candidate.quantization,
            "source": self.source,
            "pulled_as": self.pulled_as,
            "server_host": self.server_host,
            "server_version": self.machine.server.version,
            "runtime": self.machine.server.runtime,
            "machine": {"name": self.machine.name, "digest": self.machine.digest},
            "profile": self.profile.name,
            "deployed_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "context": run.context,
            "parallel": run.parallel,
            "placement": estimate.placement.kind,
            "settings": self.settings,
            "requested": dict(self.asked),
            "planned": planned(estimate),
            "measured": measured(proof.result.to_json()) if proof else None,
            "verdict": proof.verdict.to_json() if proof else None,
            "why": self.why,
            "gap_s": gap_s,
            "failure": None,
            "rolled_back_from": None,
            "rehearsal": self.rehearsal,
            "rejected": [{**r.to_json(), "learnt": r.tag in self.ruled_out} for r in self.rejected],
            "changed": True,
        }


def planned(estimate: Estimate) -> dict[str, Any]:
    """Return what an estimate promises, as documents carry it."""
    return {
        "total_bytes": estimate.total_bytes,
        "resident_bytes": estimate.resident_bytes,
        "devices": [{"index": d.index, "bytes": d.bytes} for d in estimate.devices],
        "decode_tps": estimate.speed.decode_tps[1] if estimate.speed else None,
    }


def measured(bench: Mapping[str, Any]) -> dict[str, Any]:
    """Return the medians of a bench document, as other documents carry them."""
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
