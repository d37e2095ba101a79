"""`deploy bench`: measure any model of the server, with the options that it is deployed with."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from orchestrator.bench.verdict import Tolerances
from orchestrator.budget import budget
from orchestrator.deployment import parameters
from orchestrator.errors import InvalidInput, ServerRefused, ServerUnreachable, UnknownModel
from orchestrator.fit import Fit, Terms, predicted
from orchestrator.keep import reload
from orchestrator.ledger import Ledger
from orchestrator.model import Candidate, ModelRef
from orchestrator.offload import offloaded
from orchestrator.order import Order
from orchestrator.placement import Kind
from orchestrator.progress import Progress
from orchestrator.proof import Subject, prove
from orchestrator.server.shown import Shown
from orchestrator.survey import Survey


def bench(
    order: Order, seen: Survey, model: str, effort: str, progress: Progress
) -> dict[str, Any]:
    """Measure `model` on the server of `seen`, record it, and return the bench document.

    `id` in it is its number in the ledger.
    Raises UnknownModel: the server does not have it. ServerUnreachable, OutOfMemory.
    """
    subject = subject_of(order, seen, model)
    ledger, loaded = Ledger(order.home.ledger), {m.name for m in seen.server.loaded()}
    served = [c for c in ledger.currents(seen.server.host) if loaded & {c["model"], c["alias"]}]
    try:
        result = prove(seen.server, subject, progress, effort=effort).result.to_json()
    finally:
        for serves in served:
            with suppress(ServerUnreachable, ServerRefused):
                reload(order, seen, serves, progress)
    return {**result, "id": ledger.record_bench(result)}


def subject_of(order: Order, seen: Survey, model: str) -> Subject:
    """Return what is to be measured under a name: tag, alias or derived model."""
    server, profile = seen.server, order.profile
    deployed = _deployed(order, seen, model)
    name = deployed["model"] if deployed else model
    found, shown = server.find(name), server.show(name)
    if found is None or shown is None:
        raise _absent(order, server.host, model)
    if deployed:
        profile = replace(profile, context=deployed["context"], parallel=deployed["parallel"])
    candidate = candidate_of(found.name, shown)
    terms = Terms(
        profile=profile,
        machine=seen.machine,
        budget=budget(seen.machine, None),
        wishes=replace(
            order.wishes,
            context=profile.context,
            parallel=deployed["parallel"] if deployed else order.wishes.parallel,
            num_batch=deployed["settings"].get("num_batch") if deployed else None,
        ),
        installed=candidate.tags,
    )
    fit = _as_deployed(candidate, terms, deployed)
    return Subject(
        name=found.name,
        blob=shown.blob,
        digest=found.digest,
        options=deployed["settings"] if deployed else parameters(fit, seen.machine),
        estimate=fit.estimate,
        machine=seen.machine,
        min_tps=0.0,
        tolerances=Tolerances(memory_pass=profile.memory_pass, memory_warn=profile.memory_warn),
        keep_alive=profile.keep_alive if deployed else "5m",
    )


def _as_deployed(candidate: Candidate, terms: Terms, deployed: dict[str, Any] | None) -> Fit:
    """Return the estimate in the placement that the deployment fixed, or that the server takes."""
    kind: Kind | None = deployed["placement"] if deployed else None
    pinned = offloaded(candidate, terms, kind) if kind == "split" else None
    if isinstance(pinned, Fit):
        return pinned
    return predicted(candidate, terms, cpu=kind == "cpu")


def _deployed(order: Order, seen: Survey, model: str) -> dict[str, Any] | None:
    """Return the current deployment that this name means, if one does."""
    try:
        wanted = str(ModelRef.parse(model)).lower()
    except ValueError as e:
        raise InvalidInput(str(e)) from e
    for current in Ledger(order.home.ledger).currents(seen.server.host):
        if wanted in (current[key].lower() for key in ("tag", "alias", "model")):
            return current
    return None


def _absent(order: Order, host: str, model: str) -> UnknownModel:
    """Say whether the catalogue knows what the server lacks. Raises UnknownModel: it does not."""
    tag = order.catalog.find(model).tag
    return UnknownModel(
        f"the server at {host} does not have {model}", hint=f"get it with `deploy auto {tag}`"
    )


def candidate_of(name: str, shown: Shown) -> Candidate:
    """Return an installed model as a candidate, by its true header."""
    return Candidate(
        tags=(name,),
        model=name,
        family=name.partition(":")[0],
        kind="chat",
        architecture=shown.architecture,
        quantization=shown.quantization,
        format="gguf",
        parameters_total=shown.parameters_total,
        parameters_active=shown.parameters_total,
        file_bytes=shown.weights.total_bytes,
        bytes_basis="header",
        weights=shown.weights,
    )
