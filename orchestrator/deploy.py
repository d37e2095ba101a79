"""The story: look, plan, rehearse, pull, derive, load, measure, judge; step down, or move alias."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from orchestrator import log
from orchestrator.acquire import acquire
from orchestrator.deployment import FOUND_THERE, Made, Names, learnt
from orchestrator.errors import (
    DeployError,
    DiskFull,
    Inconclusive,
    Interrupted,
    InvalidInput,
    ModelUnavailable,
    PromiseBroken,
    PullFailed,
    ServerRefused,
    ServerUnreachable,
    SourceCorrupt,
)
from orchestrator.fit import Fit, Rejection
from orchestrator.keep import current, kept, reload
from orchestrator.ledger import Ledger
from orchestrator.order import Order, intend, nothing_fits
from orchestrator.plan import Plan, choose
from orchestrator.progress import Progress
from orchestrator.pull.chain import Failures, first
from orchestrator.pull.sources import Sources
from orchestrator.rehearse import rehearse
from orchestrator.serving import serving
from orchestrator.settle import settle
from orchestrator.source import Source
from orchestrator.source.starter import Starter
from orchestrator.survey import Survey, survey
from orchestrator.tidy import tidy
from orchestrator.trail import Trail

_LOOK_BACK = 50


def deploy(order: Order, progress: Progress) -> dict[str, Any]:
    """Deploy the best model that holds its promise; return the deployment document.

    `changed` in it is False when what serves already is what the order asks for. Raises
    NothingFits, PullFailed, DiskFull, PromiseBroken, Inconclusive and the errors of the server.
    """
    progress.say("looking at this machine and its server")
    seen = serving(order, progress)
    with log.stage("tidy"):
        tidy(order, seen, progress)
    seen = survey(order.home, order.environ, parallel=order.profile.parallel)  # it may have freed
    for card in seen.machine.accelerators:
        if not card.usable:
            progress.say(f"warning: {card.name} is not used: {card.unusable_reason}")
    trail = Trail(learnt(current(order, seen), named=bool(order.tags)))
    beside = _beside(order, seen)
    try:
        document = _loop(order, seen, trail, progress)
    except Interrupted:
        raise  # whoever interrupts wants no load of minutes; the next request loads it
    except DeployError:
        for serves in [current(order, seen), *beside]:
            with suppress(ServerUnreachable, ServerRefused):
                if serves:
                    reload(order, seen, serves, progress)
        raise
    for serves in beside:
        # The server has one runner a blob: the weights of the new one are in use.
        if serves["blob"] != document["blob"]:
            with suppress(ServerUnreachable, ServerRefused):
                reload(order, seen, serves, progress)
    return document


def _beside(order: Order, seen: Survey) -> list[dict[str, Any]]:
    """Return what other aliases serve out of memory: the server may have to give it up for us."""
    loaded, own = {m.digest for m in seen.server.loaded()}, f"{order.profile.alias}:latest"
    serving = Ledger(order.home.ledger).currents(seen.server.host)
    return [d for d in serving if d["alias"] != own and d["digest"] in loaded]


def _loop(order: Order, seen: Survey, trail: Trail, progress: Progress) -> dict[str, Any]:
    """Try candidate after candidate until one holds."""
    store = seen.machine.disk.model_store
    sources = Sources(order=order, server=seen.server, store_path=store).tried()
    while True:
        plan = intend(order, seen, trail.ruled_out)
        fit = _pick(plan, trail, progress)
        if document := kept(order, seen, fit, progress):
            return document
        try:
            refused = _rehearsed(order, seen, plan, fit, trail, progress)
            outcome = refused or _delivered(order, seen, fit, plan, sources, trail, progress)
        except (ModelUnavailable, SourceCorrupt) as e:
            if order.tags:
                raise
            tag = fit.candidate.tag
            trail.out(Rejection(tag=tag, reason="unavailable", detail=e.what))
        except PullFailed as e:
            return _fall_back(order, seen, plan, e, trail, progress)
        else:
            if not isinstance(outcome, Rejection):
                return outcome
            progress.say(f"{outcome.tag} does not hold: {outcome.detail}; stepping down")
            trail.broke(outcome)


def _pick(plan: Plan, trail: Trail, progress: Progress) -> Fit:
    """Return the plan's pick. Raises what it means that there is none."""
    if plan.chosen is None:
        raise trail.dead_end(plan)
    for note in plan.warnings:
        progress.say(f"warning: {note}")
    return plan.chosen


def _rehearsed(
    order: Order, seen: Survey, plan: Plan, fit: Fit, trail: Trail, progress: Progress
) -> Rejection | None:
    """Return what a stand-in of the fit says against its download; None: nothing, or not asked.

    Raises Inconclusive, DiskFull, ServerRefused, ServerUnreachable.
    """
    tag = fit.candidate.tag
    if not order.rehearse or seen.server.find(tag) is not None:  # nothing to download
        return None
    try:
        found = rehearse(order, seen, fit, progress, slow=plan.slow)
    except InvalidInput as e:
        progress.say(f"warning: {tag} is not rehearsed: {e.what}")
        return None
    if found.inconclusive:
        raise Inconclusive(f"{tag}: {found.said}", verdict=found.verdict.to_json())
    if found.rejection is None:
        trail.rehearsals[tag] = found.to_json()
        progress.say(f"the rehearsal of {tag}: {found.verdict.outcome}")
    return found.rejection


def _delivered(
    order: Order,
    seen: Survey,
    fit: Fit,
    plan: Plan,
    sources: Sequence[Source],
    trail: Trail,
    progress: Progress,
) -> dict[str, Any] | Rejection:
    """Take one candidate from the first source that delivers it. Raises what all of them said."""

    def attempt(source: Source, _: Failures) -> dict[str, Any] | Rejection:
        try:
            return _attempt(order, seen, fit, plan, source, trail, progress)
        except PullFailed as e:
            trail.failed_source(source.address, e)
            raise

    return first(sources, fit.candidate.tag, attempt, progress)


def _attempt(
    order: Order,
    seen: Survey,
    fit: Fit,
    plan: Plan,
    source: Source,
    trail: Trail,
    progress: Progress,
) -> dict[str, Any] | Rejection:
    """Take one candidate as far as it goes; the ledger knows of it before anything is done."""
    there = seen.server.find(fit.candidate.tag) is not None and not isinstance(source, Starter)
    long_name = source.name_of(fit.candidate.tag)
    longer = not there and long_name != fit.candidate.tag
    own = longer and seen.server.find(long_name) is None
    made = Made(
        fit=fit,
        names=Names.of(fit.candidate.tag, fit.estimate.load.run.context, order.profile.alias),
        profile=order.profile,
        machine=seen.machine,
        server_host=seen.server.host,
        source=_brought_by(order, seen, fit.candidate.tag) if there else source.address,
        asked=order.asked,
        ruled_out=trail.ruled_out,
        rejected=plan.rejected,
        pulled_as=long_name if own else None,
        rehearsal=trail.rehearsals.get(fit.candidate.tag),
        why=plan.why,
    )
    ledger = Ledger(order.home.ledger)
    number = ledger.begin(made.to_json(), seen.machine.to_json())
    try:
        got = acquire(order, seen, fit, source, progress)
        if isinstance(got, Rejection):
            outcome: dict[str, Any] | Rejection = got
        else:
            made = replace(made, fit=got.fit, differences=got.differences)
            outcome = settle(order, seen, made, number=number, slow=plan.slow, progress=progress)
    except ModelUnavailable:
        ledger.forget(number)
        raise
    except (Interrupted, ServerUnreachable, DiskFull):
        raise  # the next run finishes it or cleans up, as after a kill
    except DeployError as e:
        ledger.end(number, "failed", e.what)
        raise
    if isinstance(outcome, Rejection):
        ledger.end(number, "failed", f"{outcome.reason}: {outcome.detail}")
    return outcome


def _brought_by(order: Order, seen: Survey, tag: str) -> str:
    """Return where the bytes of a tag in the store came from, if a deployment of ours knows."""
    ledger, host, found = Ledger(order.home.ledger), seen.server.host, seen.server.find(tag)
    known = (*ledger.in_use(host), *ledger.ended(host, _LOOK_BACK))
    same = (
        d
        for d in known
        if found and d["tag"] == tag and found.digest in (d["tag_digest"], d["renewed_digest"])
    )
    sources = (d["source"] for d in same if d["source"] != FOUND_THERE)
    return next(sources, FOUND_THERE)


def _fall_back(
    order: Order,
    seen: Survey,
    plan: Plan,
    failure: PullFailed,
    trail: Trail,
    progress: Progress,
) -> dict[str, Any]:
    """Deploy the starter model if the order allows it. Raises PullFailed: it does not."""
    serves = current(order, seen)
    good = serves if serves and serves["source"] != Starter.address else None
    if not order.profile.falls_back or order.tags or good:
        said = "; ".join(trail.tried)
        stays = f"; {good['tag']} keeps serving" if good else ""
        hint = failure.hint
        if not (order.tags or order.profile.falls_back):
            hint = f"{hint}; or --fallback starter"
        elif order.tags and order.profile.falls_back:
            hint = "without a tag, --fallback starter would deploy the starter model"
        raise PullFailed(
            f"no model source delivered: {said}{stays}", hint=hint, tried=trail.tried
        ) from failure
    progress.say(f"warning: {failure.what}")
    progress.say(
        "warning: NO MODEL SOURCE DELIVERED. Falling back to the starter model "
        "(SmolLM2-135M): it answers, but it is no DeepSeek or Qwen model"
    )
    starter = Starter(seen.server, order.home)
    candidates = [starter.candidate(progress)]
    own = choose(order.profile, seen.machine, candidates, wishes=order.wishes, named=True)
    if own.chosen is None:
        raise nothing_fits(own)
    if document := kept(order, seen, own.chosen, progress):
        return document
    outcome = _attempt(order, seen, own.chosen, plan, starter, trail, progress)
    if isinstance(outcome, Rejection):
        raise PromiseBroken(f"not even the starter model holds: {outcome.detail}")
    return outcome
