"""From a fit by the catalogue to a fit by the true header: pull, then judge again."""

from dataclasses import replace
from pathlib import Path

from orchestrator.errors import DiskFull, ServerRefused
from orchestrator.fit import Fit, Rejection, judge
from orchestrator.model import Candidate
from orchestrator.order import Order
from orchestrator.probe.disk import read_disk
from orchestrator.progress import Progress
from orchestrator.server.shown import Shown
from orchestrator.source import Source
from orchestrator.survey import Survey
from orchestrator.units import gb, gib

_MARGIN = 1.02
_SAME_PARAMETERS = 0.10


def acquire(
    order: Order, seen: Survey, fit: Fit, source: Source, progress: Progress
) -> Fit | Rejection:
    """Make the model exist on the server; return what its header says of the fit.

    Raises ModelUnavailable, SourceUnreachable, PullFailed, DiskFull.
    """
    tag = fit.candidate.tag
    if seen.server.find(tag) is not None:
        progress.say(f"{tag} is in the server's store: nothing to download")
    else:
        _check_disk(fit, seen)
        progress.say(f"pulling {tag} ({gb(fit.candidate.file_bytes)}) from {source.name}")
        source.pull(tag, progress)
    return _true(order, seen, fit)


def _true(order: Order, seen: Survey, fit: Fit) -> Fit | Rejection:
    shown = seen.server.show(fit.candidate.tag)
    if shown is None:
        raise ServerRefused(f"{fit.candidate.tag} was pulled, but the server does not have it")
    listed = fit.candidate.architecture
    if wrong := _unlike(fit.candidate, shown):
        return Rejection(tag=fit.candidate.tag, reason="unavailable", detail=wrong)
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
    return judge(real, terms, fit.placement.kind)


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


def _check_disk(fit: Fit, seen: Survey) -> None:
    """Look again right before the bytes move: the plan's figure may be minutes old."""
    store = seen.machine.disk.model_store
    free = read_disk(Path(store)).free_bytes if store else None
    need = int(fit.candidate.file_bytes * _MARGIN)
    if free is not None and free < need:
        raise DiskFull(
            f"pulling {fit.candidate.tag} needs {gib(need)} at {store}; {gib(free)} is free",
            needed_bytes=need,
            free_bytes=free,
        )
