"""What a deployment offloads: what the server would, or less where that would overfill a card.

A server counts with sizes of its own (before 0.12.11 its formula for the graph has no case for
Qwen3) and fills a card by them to the last layer. The true buffers then reach into what a plan
leaves alone, or beyond the card. A deployment fixes the number of layers (num_gpu): before 0.30
any, later only none at all.
"""

from dataclasses import replace
from typing import Literal

from orchestrator.era import NEWEST, Era
from orchestrator.estimate import Estimate
from orchestrator.fit import Fit, Rejection, Terms, judge, predicted
from orchestrator.model import Candidate
from orchestrator.placement import Kind

Wish = Kind | Literal["any"]
_TRIES = 4


def offloaded(candidate: Candidate, terms: Terms, wish: Wish) -> Fit | Rejection:
    """Judge a candidate in the wished placement as a deployment would load it; see judge()."""
    found = judge(candidate, terms, wish)
    if wish not in ("any", "split") or isinstance(found, Fit) or found.reason != "memory":
        return found
    if fewer := _with_fewer_layers(candidate, terms, wish):
        return fewer
    beside = judge(candidate, terms, "cpu") if wish == "any" and terms.budget.cards else found
    return beside if isinstance(beside, Fit) else found


def _with_fewer_layers(candidate: Candidate, terms: Terms, wish: Wish) -> Fit | None:
    """Return the fit as a server places it that keeps so much more aside as was overfilled."""
    version = terms.version or NEWEST
    if not terms.budget.cards or version.era is Era.LLAMA_SERVER:
        return None
    aside = 0
    for _ in range(_TRIES):
        kept = _keeping(terms, aside)
        placed = predicted(candidate, kept).estimate
        if placed.needs.host_bytes > terms.budget.host_bytes:  # fewer layers are more on the host
            return None
        over = _overfilled(placed, terms)
        if over <= 0:
            found = judge(candidate, kept, wish)
            return found if isinstance(found, Fit) else None
        aside += max(over, *placed.load.layer_bytes)
    return None


def _overfilled(placed: Estimate, terms: Terms) -> int:
    """Return by how much the fullest card is beyond what a plan may fill; not above 0: by none."""
    free = {c.index: c.budget_bytes for c in terms.budget.cards}
    return max((d.bytes - free[d.index] for d in placed.needs.devices), default=0)


def _keeping(terms: Terms, aside: int) -> Terms:
    """Return the terms of a server that keeps so many more bytes aside on each card."""
    server = terms.machine.server
    overhead = (server.settings.gpu_overhead_bytes or 0) + aside
    settings = replace(server.settings, gpu_overhead_bytes=overhead)
    return replace(terms, machine=replace(terms.machine, server=replace(server, settings=settings)))
