"""From a fit by the catalogue to a fit by the true header: fetch, check every byte, judge again."""

from dataclasses import dataclass, replace

from orchestrator import log
from orchestrator.errors import ServerRefused
from orchestrator.fit import Fit, Rejection
from orchestrator.ledger import Ledger
from orchestrator.model import Architecture, Candidate
from orchestrator.offload import offloaded
from orchestrator.order import Order
from orchestrator.progress import Progress
from orchestrator.pull.claim import fetched
from orchestrator.pull.wholeness import layers, mend
from orchestrator.server.shown import Shown
from orchestrator.source import Pulled, Source
from orchestrator.store import Store
from orchestrator.survey import Survey

_SAME_PARAMETERS = 0.10
_SHAPE = (
    "name", "block_count", "embedding_length", "feed_forward_length", "head_count",
    "head_count_kv", "key_length", "value_length", "vocab_size", "context_length", "expert_count",
    "expert_used_count",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquired:
    """The fit by the true header, and what that says other than the catalogue."""

    fit: Fit
    differences: tuple[str, ...] = ()


def acquire(
    order: Order, seen: Survey, fit: Fit, source: Source, progress: Progress
) -> Acquired | Rejection:
    """Make the model exist on the server, whole; return what its header says of the fit.

    Raises ModelUnavailable, SourceUnreachable, PullFailed, DiskFull.
    """
    tag = fit.candidate.tag
    store = Store.at(seen.machine.disk.model_store)
    if seen.server.find(tag) is None:
        pulled = _fetch(order, seen, fit, source, progress)
        suspects = layers(store, tag, pulled.cached) if store else []
    else:
        progress.say(f"{tag} is in the server's store: nothing to download")
        suspects = layers(store, tag) if store and not _known(order, seen, tag) else []
    if store and suspects:
        mend(store, tag, suspects, lambda: _fetch(order, seen, fit, source, progress), progress)
    return _true(order, seen, fit, progress)


def _fetch(order: Order, seen: Survey, fit: Fit, source: Source, progress: Progress) -> Pulled:
    return fetched(order.home, seen.server, source, fit.candidate.tag, progress)


def _known(order: Order, seen: Survey, tag: str) -> bool:
    """Whether a deployment of ours runs on these very bytes, and no look at them found damage."""
    ledger, found = Ledger(order.home.ledger), seen.server.find(tag)
    loaded = {m.digest for m in seen.server.loaded()}
    for used in ledger.in_use(seen.server.host):
        same = found and (used["tag"], used["tag_digest"]) == (tag, found.digest)
        if same and used["digest"] in loaded:
            looked = ledger.verification(used["id"])
            return not (looked and looked["damaged"])
    return False


def _true(order: Order, seen: Survey, fit: Fit, progress: Progress) -> Acquired | Rejection:
    shown = seen.server.show(fit.candidate.tag)
    if shown is None:
        raise ServerRefused(f"{fit.candidate.tag} was pulled, but the server does not have it")
    if wrong := _unlike(fit.candidate, shown):
        return Rejection(tag=fit.candidate.tag, reason="unavailable", detail=wrong)
    differences = _differences(fit.candidate, shown)
    if differences:
        log.event("header.differs", tag=fit.candidate.tag, differences=differences)
        said = "; ".join(differences)
        progress.say(f"{fit.candidate.tag}: {said}: planning again by the file's header")
    listed = fit.candidate.architecture
    shape = replace(
        shown.architecture,  # what no header says stays as the catalogue has it
        recurrent_state_bytes=listed.recurrent_state_bytes,
        attention_block_count=listed.attention_block_count,
    )
    real = replace(
        fit.candidate,
        architecture=shape,
        weights=shown.weights,
        bytes_basis="header",
        quantization=shown.quantization,
    )
    terms = replace(order.terms(seen.machine), installed=real.tags)
    judged = offloaded(real, terms, fit.placement.kind)
    if isinstance(judged, Rejection):
        return judged
    return Acquired(fit=judged, differences=differences)


def _unlike(candidate: Candidate, shown: Shown) -> str | None:
    """Say why the file under this tag cannot be the model that it names; tags do move a little."""
    listed, found = candidate.architecture.name, shown.architecture.name
    count, wanted = shown.parameters_total, candidate.parameters_total
    if found == listed and abs(count - wanted) <= _SAME_PARAMETERS * wanted:
        return None
    return (
        f"what the server has under {candidate.tag} is {found} with {count / 1e9:.2f}B parameters, "
        f"not {listed} with {wanted / 1e9:.2f}B: remove it, or pull it again"
    )


def _differences(candidate: Candidate, shown: Shown) -> tuple[str, ...]:
    """Return what the header says other than the catalogue, of what an estimate is made from."""

    def facts(shape: Architecture, quantization: str) -> dict[str, object]:
        return {**{k: getattr(shape, k) for k in _SHAPE}, "quantization": quantization}

    listed = facts(candidate.architecture, candidate.quantization)
    found = facts(shown.architecture, shown.quantization)
    return tuple(
        f"{key} {listed[key]} in the catalogue, {found[key]} in the file"
        for key in listed
        if found[key] not in (listed[key], None, 0, "unknown") and listed[key] is not None
    )
