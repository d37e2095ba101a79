"""Derive, load, measure, judge; then the alias and the ledger, last. Or a rejection."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from orchestrator.bench.verdict import Tolerances
from orchestrator.deployment import Made, Names, parameters
from orchestrator.errors import Inconclusive, OutOfMemory, ServerRefused, ServerUnreachable
from orchestrator.fit import Fit, Reason, Rejection
from orchestrator.keep import current
from orchestrator.ledger import Ledger
from orchestrator.order import Order
from orchestrator.plan import Plan
from orchestrator.progress import Progress
from orchestrator.proof import Proof, Subject, prove
from orchestrator.server import Server
from orchestrator.survey import Survey
from orchestrator.trail import Trail

_ANSWER_S = 300.0
_UNPROVEN_KEEP_ALIVE = "10m"  # a run that is killed leaves no more than that behind


def settle(
    order: Order,
    seen: Survey,
    fit: Fit,
    *,
    plan: Plan,
    source: str,
    trail: Trail,
    progress: Progress,
) -> dict[str, Any] | Rejection:
    """Return the deployment document, or why this candidate does not hold its promise.

    Raises Inconclusive: somebody else used the server meanwhile. ServerRefused, ServerUnreachable.
    """
    made = _derive(order, seen, fit, plan, source, trail)
    accepted = False
    try:
        proof = prove(seen.server, _subject(order, seen, made, slow=plan.slow), progress)
        bench = proof.result.to_json()
        if proof.verdict.outcome == "inconclusive":
            raise Inconclusive(f"{made.names.model}: {_said(bench)}", verdict=bench["verdict"])
        if proof.verdict.outcome == "failed":
            return _failed(order, seen, made, proof, bench)
        document = _accepted(order, seen, made, proof, bench, progress)
        accepted = True
    except OutOfMemory as e:
        return Rejection(tag=fit.candidate.tag, reason="memory", detail=e.what)
    finally:
        if not accepted:  # failed, refused, interrupted: nothing unproven stays in memory
            _take_away(order, seen, made)
    return document


def _derive(order: Order, seen: Survey, fit: Fit, plan: Plan, source: str, trail: Trail) -> Made:
    server, tag = seen.server, fit.candidate.tag
    names = Names.of(tag, fit.estimate.load.run.context, order.profile.alias)
    server.derive(names.model, tag, parameters(fit, seen.machine))
    derived, shown = server.find(names.model), server.show(names.model)
    if derived is None or shown is None:
        raise ServerRefused(f"{names.model} was created, but the server does not have it")
    return Made(
        fit=fit,
        names=names,
        profile=order.profile,
        machine=seen.machine,
        server_host=server.host,
        source=source,
        model_digest=derived.digest,
        blob=shown.blob,
        asked=order.asked,
        ruled_out=trail.ruled_out,
        rejected=plan.rejected,
    )


def _subject(order: Order, seen: Survey, made: Made, *, slow: bool) -> Subject:
    profile = order.profile
    without_floor = slow or made.fit.placement.kind == "gpu"
    return Subject(
        name=made.names.model,
        blob=made.blob,
        digest=made.model_digest,
        options=parameters(made.fit, seen.machine),
        estimate=made.fit.estimate,
        machine=seen.machine,
        min_tps=0.0 if without_floor else profile.min_tps,
        tolerances=Tolerances(memory_pass=profile.memory_pass, memory_warn=profile.memory_warn),
        keep_alive=_UNPROVEN_KEEP_ALIVE,
        budget_s=profile.validation_s,
    )


def _failed(
    order: Order, seen: Survey, made: Made, proof: Proof, bench: Mapping[str, Any]
) -> Rejection:
    """Record the failure and take the candidate away again; what served still serves."""
    document = made.to_json("failed", proof.estimate, bench, proof.verdict)
    Ledger(order.home.ledger).record_deployment(document, bench, seen.machine.to_json())
    seen.server.unload(made.names.model)
    _take_away(order, seen, made)
    slow = all(c["name"] == "decode speed" for c in _bad(bench))
    reason: Reason = "speed" if slow else "memory"
    return Rejection(tag=made.fit.candidate.tag, reason=reason, detail=_said(bench))


def _take_away(order: Order, seen: Survey, made: Made) -> None:
    """Unload and remove the derived model, unless it is the very one that serves."""
    with suppress(ServerUnreachable, ServerRefused):
        if seen.server.claim(made.names.model):
            seen.server.unload(made.names.model)
        serves = current(order, seen)
        if serves is None or serves["model"] != made.names.model:
            seen.server.delete(made.names.model)


def _accepted(
    order: Order,
    seen: Survey,
    made: Made,
    proof: Proof,
    bench: Mapping[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Let it answer once, then move the alias, then the ledger: in this order."""
    server, name = seen.server, made.names.model
    with progress.waiting(f"asking {name} for its first answer"):
        server.chat_completion(name, "Say hello.", max_tokens=8, timeout_s=_ANSWER_S)
    move_alias(server, made.names)
    options = parameters(made.fit, seen.machine)
    server.load(name, options=options, keep_alive=order.profile.keep_alive)
    document = made.to_json("current", proof.estimate, bench, proof.verdict)
    ledger = Ledger(order.home.ledger)
    before = ledger.models_in_use(server.host)
    number = ledger.record_deployment(document, bench, seen.machine.to_json())
    for old in before - ledger.models_in_use(server.host):
        server.delete(old)  # the derived name only: the pulled model and its blob stay
    return {**document, "id": number}


def move_alias(server: Server, names: Names) -> None:
    """Point the alias at the derived model and read it back. Raises ServerRefused."""
    server.copy(names.model, names.alias)
    target, alias = server.find(names.model), server.find(names.alias)
    if target is None or alias is None or target.digest != alias.digest:
        raise ServerRefused(f"the alias {names.alias} does not name {names.model} after the copy")


def _bad(bench: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [c for c in bench["verdict"]["checks"] if c["outcome"] in ("failed", "inconclusive")]


def _said(bench: Mapping[str, Any]) -> str:
    return ", ".join(f"{c['name']}: {c['detail']}" for c in _bad(bench))
