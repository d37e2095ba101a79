"""From a fit by the catalogue to a fit by the true header: fetch, check every byte, judge again."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import log
from orchestrator.errors import DiskFull, PullFailed, ServerRefused
from orchestrator.fit import Fit, Rejection, download_bytes
from orchestrator.ledger import Ledger
from orchestrator.model import Architecture, Candidate
from orchestrator.offload import offloaded
from orchestrator.order import Order
from orchestrator.probe.disk import read_disk
from orchestrator.progress import Progress
from orchestrator.server.shown import Shown
from orchestrator.source import Source
from orchestrator.store import Damage, Layer, Store
from orchestrator.survey import Survey
from orchestrator.units import gb, gib

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
        fetched = _fetch(fit, seen, source, progress)
        suspects = None if store is None else _layers(store, tag, fetched)
    else:
        progress.say(f"{tag} is in the server's store: nothing to download")
        suspects = None if store is None or _known(order, seen, tag) else _layers(store, tag)
    if store and suspects and (damaged := _damage(store, tag, suspects, progress)):
        _replace(store, fit, seen, damaged, source, progress)
    return _true(order, seen, fit, progress)


def _fetch(fit: Fit, seen: Survey, source: Source, progress: Progress) -> tuple[str, ...]:
    """Pull, and return the digests that were in the store already: nobody looked at their bytes."""
    _check_disk(fit, seen)
    size = gb(fit.candidate.file_bytes)
    progress.say(f"pulling {fit.candidate.tag} ({size}) from {source.name}")
    return source.pull(fit.candidate.tag, progress).cached


def _layers(store: Store, tag: str, among: Iterable[str] | None = None) -> list[Layer]:
    manifest = store.manifest(tag)
    wanted = None if among is None else set(among)
    layers = manifest.layers if manifest else ()
    return [each for each in layers if wanted is None or each.digest in wanted]


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


def _damage(store: Store, tag: str, layers: list[Layer], progress: Progress) -> list[Damage]:
    def tick(digest: str, done: int, total: int) -> None:
        progress.advance(f"verify {tag} {digest[7:19]}", done, total)

    with log.stage("store.verify", tag=tag):
        try:
            return store.damage(layers, tick)
        except OSError as e:
            progress.say(f"warning: {tag} is not verified: {e.filename}: {e.strerror}")
            return []


def _replace(
    store: Store,
    fit: Fit,
    seen: Survey,
    damaged: list[Damage],
    source: Source,
    progress: Progress,
) -> None:
    """Remove damaged blobs and fetch them again: a pull trusts whatever lies in the store."""
    tag = fit.candidate.tag
    for each in damaged:
        log.event("blob.damaged", digest=each.digest, what=each.what)
        progress.say(f"{tag} is damaged in the store: {each.digest} {each.detail}")
    if not store.writable:
        paths = " ".join(str(each.path) for each in damaged)
        raise PullFailed(
            f"{tag} is damaged in the store {store.path}, where we may not write",
            hint=f"as the server's user: rm {paths}; then the same command again",
        )
    for each in damaged:
        store.set_aside(each.digest)
    try:
        _fetch(fit, seen, source, progress)
    finally:
        store.bring_back()  # a damaged file may still serve; no file serves nobody


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


def _check_disk(fit: Fit, seen: Survey) -> None:
    """Look again right before the bytes move: the plan's figure may be minutes old."""
    store = seen.machine.disk.model_store
    free = read_disk(Path(store)).free_bytes if store else None
    need = download_bytes(fit.candidate, seen.partials)
    if free is not None and free < need:
        raise DiskFull(
            f"pulling {fit.candidate.tag} needs {gib(need)} at {store}; {gib(free)} is free",
            needed_bytes=need,
            free_bytes=free,
        )
