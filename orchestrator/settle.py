"""Derive, load, measure, judge; then the alias and the ledger, last. Or a rejection."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from orchestrator import log
from orchestrator.alias import move
from orchestrator.bench.verdict import Tolerances
from orchestrator.budget import beside
from orchestrator.deployment import Made
from orchestrator.derive import derive, discard, shared
from orchestrator.errors import (
    Inconclusive,
    OutOfMemory,
    RunnerDied,
    ServerRefused,
    ServerUnreachable,
)
from orchestrator.fit import Reason, Rejection
from orchestrator.keep import current
from orchestrator.ledger import Ledger
from orchestrator.order import Order
from orchestrator.progress import Progress
from orchestrator.proof import Proof, Subject, prove
from orchestrator.server import Server
from orchestrator.store import Store
from orchestrator.survey import Survey

_ANSWER_S = 300.0
_UNPROVEN_KEEP_ALIVE = "10m"  # a run that is killed leaves no more than that behind


def settle(
    order: Order, seen: Survey, made: Made, *, number: int, slow: bool, progress: Progress
) -> dict[str, Any] | Rejection:
    """Return the deployment document, or why this candidate does not hold its promise.

    `number` is the candidate's row in the ledger. Raises Inconclusive: somebody else used the
    server meanwhile. ServerRefused, ServerUnreachable.
    """
    ledger, store = Ledger(order.home.ledger), Store.at(seen.machine.disk.model_store)
    tag = made.fit.candidate.tag
    made = derive(seen.server, store, made, number, ledger)
    accepted = False
    try:
        since = _make_way(order, seen, made, progress)
        proof = prove(seen.server, _subject(order, seen, made, slow=slow), progress, order.home)
        document, bench = made.to_json(proof), proof.result.to_json()
        if proof.verdict.outcome in ("failed", "inconclusive"):
            ledger.note(number, document, bench)
            return _rejected(made, proof, bench)
        with progress.waiting(f"asking {made.names.model} for its first answer"):
            seen.server.chat_completion(
                made.names.model, "Say hello.", max_tokens=8, timeout_s=_ANSWER_S
            )
        _hold(seen.server, document, order.profile.keep_alive)
        # Proven: from here on the next run finishes what a killed one began.
        ledger.note(number, document, bench)
        accepted = True
        return _enter(order, seen, {**document, "id": number}, since)
    except OutOfMemory as e:
        return Rejection(tag=tag, reason="memory", detail=e.what)
    except RunnerDied as e:
        return Rejection(tag=tag, reason="server", detail=e.what)
    finally:
        if not accepted:  # failed, refused, interrupted: nothing unproven stays in memory
            with suppress(ServerUnreachable, ServerRefused):
                discard(seen.server, store, made.names.model, ledger.in_use(seen.server.host))


def finish(order: Order, seen: Survey, document: Mapping[str, Any]) -> dict[str, Any]:
    """Let a proven candidate of a killed run serve, and enter it as current.

    Raises ServerRefused and its kinds: it does not load any more, and nothing has changed.
    """
    _hold(seen.server, document, order.profile.keep_alive)
    return _enter(order, seen, document, None)


def _hold(server: Server, document: Mapping[str, Any], keep_alive: float | str) -> None:
    """Keep a proven candidate in memory, before the alias names it: no request is to wait."""
    server.load(document["model"], options=document["settings"], keep_alive=keep_alive)


def _enter(
    order: Order, seen: Survey, document: Mapping[str, Any], since: float | None
) -> dict[str, Any]:
    """Let the alias name what is proven and loaded, then enter it as current.

    `since` is time.monotonic() at which the one before went out of memory, if it did. Killed at
    any instant, it is done again by the next run.
    """
    server, store = seen.server, Store.at(seen.machine.disk.model_store)
    ledger = Ledger(order.home.ledger)
    before = {d["model"]: d for d in ledger.in_use(server.host)}
    with log.stage("alias.move", alias=document["alias"], model=document["model"]):
        move(server, store, document["alias"], document["model"])
    gap_s = None if since is None else round(time.monotonic() - since, 1)
    document = {**document, "state": "current", "gap_s": gap_s}
    ledger.accept(document["id"], document)
    after = ledger.in_use(server.host)
    for model, old in before.items():
        with suppress(ServerUnreachable, ServerRefused):  # the new one serves, whatever they say
            _let_go(server, model, old, ledger.currents(server.host))
            if model not in {d["model"] for d in after}:
                discard(server, store, model, after)  # the pulled model and its blob stay
    return document


def _let_go(
    server: Server, model: str, old: Mapping[str, Any], serving: Sequence[Mapping[str, Any]]
) -> None:
    """Take what the alias named before out of memory, where it was to stay for good."""
    # The server unloads by weights: those that any alias serves must not be hit. And it lists the
    # name by which it was loaded, which may be the alias: told apart by digest.
    loaded = any(m.digest == old["digest"] for m in server.loaded())
    needed = old["blob"] in {d["blob"] for d in serving} or shared(server, model, old["digest"])
    if loaded and not needed:
        server.unload(model)


def _make_way(order: Order, seen: Survey, made: Made, progress: Progress) -> float | None:
    """Unload what serves if both do not fit; return time.monotonic() of then, else None."""
    serves = current(order, seen)
    names = (
        [n for n in (serves["model"], serves["alias"]) if seen.server.claim(n)] if serves else []
    )
    if serves is None or not names:
        return None
    if serves["blob"] != made.blob and beside(seen.machine, made.fit.estimate):
        progress.say(f"{serves['model']} stays in memory beside it meanwhile")
        return None
    speed = made.fit.estimate.speed
    load = f"one load (about {speed.load_s[1]:.0f} s)" if speed else "one load"
    progress.say(
        f"no room beside {serves['model']}: it leaves memory for {load} and the measurement; "
        f"requests to {serves['alias'].removesuffix(':latest')} meanwhile wait, and disturb it"
    )
    for name in names:
        seen.server.unload(name)
    return time.monotonic()


def _subject(order: Order, seen: Survey, made: Made, *, slow: bool) -> Subject:
    profile = order.profile
    without_floor = slow or made.fit.placement.kind == "gpu"
    return Subject(
        name=made.names.model,
        blob=made.blob,
        digest=made.model_digest,
        options=made.settings,
        estimate=made.fit.estimate,
        machine=seen.machine,
        min_tps=0.0 if without_floor else profile.min_tps,
        tolerances=Tolerances(memory_pass=profile.memory_pass, memory_warn=profile.memory_warn),
        keep_alive=_UNPROVEN_KEEP_ALIVE,
        budget_s=profile.validation_s,
    )


def _rejected(made: Made, proof: Proof, bench: Mapping[str, Any]) -> Rejection:
    """Return what a bad verdict means for the candidate. Raises Inconclusive."""
    if proof.verdict.outcome == "inconclusive":
        raise Inconclusive(f"{made.names.model}: {_said(bench)}", verdict=bench["verdict"])
    slow = all(c["name"] == "decode speed" for c in _bad(bench))
    reason: Reason = "speed" if slow else "memory"
    return Rejection(tag=made.fit.candidate.tag, reason=reason, detail=_said(bench))


def _bad(bench: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [c for c in bench["verdict"]["checks"] if c["outcome"] in ("failed", "inconclusive")]


def _said(bench: Mapping[str, Any]) -> str:
    return ", ".join(f"{c['name']}: {c['detail']}" for c in _bad(bench))
