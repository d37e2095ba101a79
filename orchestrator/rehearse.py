"""Proof of fit before the download: a stand-in of the exact shape, loaded and measured here."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator import log
from orchestrator.bench.verdict import Check, Tolerances, Verdict
from orchestrator.budget import beside
from orchestrator.deployment import measured, parameters, planned
from orchestrator.errors import OutOfMemory, RunnerDied, ServerRefused, ServerUnreachable
from orchestrator.estimate import Estimate
from orchestrator.fit import Fit, Reason, Rejection
from orchestrator.keep import reload
from orchestrator.ledger import Ledger
from orchestrator.order import Order
from orchestrator.progress import Progress
from orchestrator.proof import Proof, Subject, prove
from orchestrator.standin import StandIn, Written
from orchestrator.standin.stage import Stage, name_of
from orchestrator.survey import Survey
from orchestrator.units import gb

_KEEP_ALIVE = "10m"  # a run that is killed leaves no more than that behind in memory
_BAD = ("failed", "inconclusive")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """What came of it. `proof` is None where the stand-in did not even load or answer; `verdict`
    says why then.
    """

    fit: Fit
    settings: Mapping[str, object]
    written: Written
    weights_bytes: int
    write_s: float
    verdict: Verdict
    proof: Proof | None = None
    refusal: Reason | None = None
    at: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

    @property
    def inconclusive(self) -> bool:
        """Whether somebody else used the server meanwhile."""
        return self.verdict.outcome == "inconclusive"

    @property
    def rejection(self) -> Rejection | None:
        """Why the candidate is out; None: nothing speaks against its download."""
        if self.verdict.outcome not in _BAD:
            return None
        slow = all(c.name == "decode speed" for c in self._bad)
        reason: Reason = self.refusal or ("speed" if slow else "memory")
        return Rejection(tag=self.fit.candidate.tag, reason=reason, detail=self.said)

    @property
    def said(self) -> str:
        """What did not hold, in one line."""
        return f"rehearsed: {', '.join(f'{c.name}: {c.detail}' for c in self._bad)}"

    @property
    def _bad(self) -> list[Check]:
        return [c for c in self.verdict.checks if c.outcome in _BAD]

    def to_json(self) -> dict[str, Any]:
        """Return the rehearsal, as a deployment's document and schema `rehearsal` carry it."""
        promised = self.proof.estimate if self.proof else self.fit.estimate
        return {
            "tag": self.fit.candidate.tag,
            "at": self.at,
            "file_bytes": self.written.file_bytes,
            "weights_bytes": {
                "planned": self.fit.estimate.load.weights.total_bytes,
                "written": self.weights_bytes,
            },
            "write_s": round(self.write_s, 1),
            "settings": dict(self.settings),
            "placement": promised.placement.kind,
            "planned": _promised(promised),
            "measured": measured(self.proof.result.to_json()) if self.proof else None,
            "verdict": self.verdict.to_json(),
        }


def rehearse(
    order: Order, seen: Survey, fit: Fit, progress: Progress, *, slow: bool = False
) -> Rehearsal:
    """Write a stand-in of the fit's file, load it with the planned settings, measure, and judge it
    against the plan. Whatever happens, it is taken away again, and what served serves again.

    `slow`: the plan has said that it does not reach the floor, so that is no verdict. Run it under
    the lock of the loop. Raises InvalidInput: no stand-in of this architecture is known; DiskFull,
    ServerUnreachable, ServerRefused.
    """
    candidate = fit.candidate
    standin = StandIn(
        shape=candidate.architecture, quantization=candidate.quantization, rule=candidate.rule
    )
    stage = Stage.of(seen.server, seen.machine.disk.model_store, order.home)
    seen.server.version()  # a server that is down is found out before gigabytes are written
    size = gb(standin.tensor_bytes)
    progress.say(f"rehearsing {candidate.tag}: a stand-in of its exact shape, {size} of noise")
    with _undisturbed(order, seen, fit.estimate, progress):
        try:
            stage.clear()
            started = time.monotonic()
            with log.stage("standin.write", tag=candidate.tag):
                written = stage.put(standin, candidate.tag, progress)
            wrote_s = time.monotonic() - started
            found = _Found(order, seen, fit, written, slow)
            verdict, proof, refusal = found.judged(progress)
        finally:
            stage.clear()
    log.event("rehearsal.done", tag=candidate.tag, outcome=verdict.outcome)
    return Rehearsal(
        fit=fit,
        settings=parameters(fit, seen.machine),
        written=written,
        weights_bytes=sum(t.size_bytes for t in standin.tensors),
        write_s=wrote_s,
        verdict=verdict,
        proof=proof,
        refusal=refusal,
    )


def clear(order: Order, seen: Survey, progress: Progress) -> None:
    """Take away what a rehearsal that was killed left behind; under the lock of the loop."""
    if found := Stage.of(seen.server, seen.machine.disk.model_store, order.home).clear():
        log.event("rehearsal.cleared", found=found)
        progress.say(f"cleaned up after a rehearsal that was killed ({', '.join(found)})")


@dataclass(frozen=True, slots=True)
class _Found:
    """A stand-in that is a blob of the server, and what it is to be held against."""

    order: Order
    seen: Survey
    fit: Fit
    written: Written
    slow: bool

    def judged(self, progress: Progress) -> tuple[Verdict, Proof | None, Reason | None]:
        name, server = name_of(self.written.digest), self.seen.server
        settings = parameters(self.fit, self.seen.machine)
        server.create(name, self.written.digest, parameters=settings)
        made = server.find(name)
        subject = self._subject(name, made.digest if made else None, settings)
        try:
            proof = prove(server, subject, progress, self.order.home)
        except OutOfMemory as e:
            return _failed(e.what), None, "memory"
        except RunnerDied as e:
            return _failed(e.what), None, "server"
        return proof.verdict, proof, None

    def _subject(self, name: str, digest: str | None, settings: Mapping[str, object]) -> Subject:
        profile, on_cards = self.order.profile, self.fit.placement.kind == "gpu"
        return Subject(
            name=name,
            blob=self.written.digest,
            digest=digest,
            options=settings,
            estimate=self.fit.estimate,
            machine=self.seen.machine,
            min_tps=0.0 if self.slow or on_cards else profile.min_tps,
            tolerances=Tolerances(memory_pass=profile.memory_pass, memory_warn=profile.memory_warn),
            keep_alive=_KEEP_ALIVE,
            budget_s=profile.validation_s,
        )


def _failed(what: str) -> Verdict:
    check = Check(
        name="load", estimated=None, measured=None, error=None, outcome="failed", detail=what
    )
    return Verdict(outcome="failed", checks=(check,))


def _promised(estimate: Estimate) -> dict[str, Any]:
    speed = estimate.speed
    return {
        **planned(estimate),
        "prefill_tps": speed.prefill_tps[1] if speed else None,
        "load_s": speed.load_s[1] if speed else None,
    }


@contextmanager
def _undisturbed(
    order: Order, seen: Survey, wanted: Estimate, progress: Progress
) -> Iterator[None]:
    """Make room where both do not fit, and load what served as soon as the rehearsal is over."""
    server = seen.server
    loaded = {m.digest for m in server.loaded()}
    serving = [d for d in Ledger(order.home.ledger).currents(server.host) if d["digest"] in loaded]
    if serving and not beside(seen.machine, wanted):
        for serves in serving:
            alias = serves["alias"].removesuffix(":latest")
            progress.say(f"no room beside {serves['model']}: {alias} waits until that is done")
            for name in (serves["model"], serves["alias"]):
                if server.claim(name):
                    server.unload(name)
    try:
        yield
    finally:
        for serves in serving:
            with suppress(ServerUnreachable, ServerRefused):
                reload(order, seen, serves, progress)
