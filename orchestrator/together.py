"""Several models in one server at the same time: what each gets, and what is missing. Pure.

They are loaded one after another, the largest file first, each into what the others left. A server
gives up a loaded model rather than load the next one badly, so each has to pass the rule of its
era (server/sched.go) beside those that are there. The models were named, so speed refuses none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.budget import Budget
from orchestrator.era import NEWEST, Era
from orchestrator.fit import Fit, Rejection, Terms, download_bytes, judge
from orchestrator.machine import Machine
from orchestrator.model import Candidate
from orchestrator.offload import Wish, offloaded
from orchestrator.placement import Load, server_bytes
from orchestrator.units import GIB, MIB, gib

ORDER = "largest file first"
_MODELS_A_CARD = 3
_FREE_SHARE = 0.8
_SURCHARGES = ((2048, 2 * GIB), (1024, 768 * MIB))  # tokens of a prefill step, bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A model with its place, and what is free when it has been loaded."""

    fit: Fit
    left: Budget

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a document's `loaded`."""
        found = self.fit.estimate
        return {
            "tag": self.fit.candidate.tag,
            "placement": found.placement.kind,
            "gpu_layers": found.placement.gpu_layers,
            "layers": found.placement.total_layers,
            "devices": [{"index": d.index, "bytes": d.bytes} for d in found.devices],
            "host_bytes": found.host_bytes,
            "context": found.load.run.context,
            "parallel": found.load.run.parallel,
            "estimate": found.to_json(),
            "left": {
                "devices": [{"index": c.index, "bytes": c.budget_bytes} for c in self.left.cards],
                "host_bytes": self.left.host_bytes,
            },
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """Models in the order of loading, and those for which there is no place beside them."""

    terms: Terms
    loaded: tuple[Loaded, ...]
    missing: tuple[Rejection, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document (schema `together`)."""
        machine = self.terms.machine
        allowed, basis = most_loaded(machine)
        return {
            "schema": 1,
            "profile": self.terms.profile.name,
            "machine": {"name": machine.name, "digest": machine.digest},
            "server_version": machine.server.version,
            "order": ORDER,
            "max_loaded_models": {"allowed": allowed, "basis": basis},
            "holds": not self.missing,
            "loaded": [each.to_json() for each in self.loaded],
            "missing": [each.to_json() for each in self.missing],
        }


def together(candidates: Sequence[Candidate], terms: Terms) -> Together:
    """Load the candidates one after another into the budget of `terms`.

    What the server has loaded now counts as given up. A model that finds no place takes none: the
    smaller ones after it are judged without it.
    """
    loaded: list[Loaded] = []
    missing: list[Rejection] = []
    for candidate in sorted(candidates, key=lambda c: (-c.file_bytes, c.tag)):
        found = _crowded(candidate, terms, loaded) or _judged(candidate, terms, first=not loaded)
        if isinstance(found, Rejection):
            missing.append(found)
            continue
        terms = _after(found, terms)
        loaded.append(Loaded(fit=found, left=terms.budget))
    return Together(terms=terms, loaded=tuple(loaded), missing=tuple(missing))


def _judged(candidate: Candidate, terms: Terms, *, first: bool) -> Fit | Rejection:
    """Return its fit in what is left, if the server loads it there without giving one up."""
    wish: Wish = "any" if terms.profile.placement == "auto" else terms.profile.placement
    if first:
        return offloaded(candidate, terms, wish)
    version = terms.version or NEWEST
    if version.era is Era.LLAMA_SERVER:
        found = offloaded(candidate, terms, wish)
        too_much = _evicting(found, terms, wish) if isinstance(found, Fit) else None
        return too_much or found
    if wish == "cpu" or not terms.budget.cards:
        return judge(candidate, terms, wish)
    found = judge(candidate, terms, "gpu")
    if isinstance(found, Rejection) and found.reason == "memory":
        rule = f"beside a loaded model, Ollama {version} loads only what fits wholly on GPUs"
        return replace(found, detail=f"{found.detail}; {rule}")
    return found


def most_loaded(machine: Machine) -> tuple[int, str]:
    """Return how many models the server keeps loaded, and who says so."""
    if asked := machine.server.settings.max_loaded_models:
        return asked, "OLLAMA_MAX_LOADED_MODELS of the server"
    cards = len(machine.usable)
    basis = f"Ollama's default: {_MODELS_A_CARD} a GPU" if cards else "Ollama's default on a CPU"
    return _MODELS_A_CARD * max(1, cards), basis


def _crowded(candidate: Candidate, terms: Terms, loaded: Sequence[Loaded]) -> Rejection | None:
    allowed, basis = most_loaded(terms.machine)
    if len(loaded) < allowed:
        return None
    detail = f"the server keeps {allowed} loaded ({basis})"
    return Rejection(tag=candidate.tag, reason="server", detail=detail)


def _evicting(found: Fit, terms: Terms, wish: Wish) -> Rejection | None:
    """Return why a server from 0.30 on gives up a loaded model for this one; None: it does not.

    Without GPUs, or for a model that is kept off them, it does not ask.
    """
    free = [] if wish == "cpu" else [c.free_bytes for c in terms.budget.cards]
    if not free:
        return None
    room = int(_FREE_SHARE * sum(free))
    counted = server_bytes(found.estimate.load) + _surcharge(found.estimate.load)
    if counted <= room:
        return None
    detail = (
        f"Ollama counts {gib(counted)} for it and beside loaded models fills {_FREE_SHARE:.0%} of "
        f"what is free, {gib(room)}: it gives one up"
    )
    return Rejection(
        tag=found.candidate.tag, reason="server", short_by_bytes=counted - room, detail=detail
    )


def _surcharge(load: Load) -> int:
    batch = load.run.num_batch
    return next((more for tokens, more in _SURCHARGES if batch >= tokens), 0)


def _after(found: Fit, terms: Terms) -> Terms:
    """Return the terms with what a loaded model takes of memory, cap and disk taken off."""
    took, allowed = found.estimate.needs, terms.budget
    on_card = {d.index: d.bytes for d in took.devices}
    pooled = sum(on_card.get(c.index, 0) for c in allowed.cards if c.unified)
    host = max(0, allowed.host_bytes - took.host_bytes - pooled)
    cards = [
        replace(c, free_bytes=max(0, c.free_bytes - on_card.get(c.index, 0))) for c in allowed.cards
    ]
    left = replace(
        allowed,
        cards=tuple(
            replace(c, free_bytes=min(c.free_bytes, host)) if c.unified else c for c in cards
        ),
        host_bytes=host,
        cap_bytes=None
        if allowed.cap_bytes is None
        else max(0, allowed.cap_bytes - took.total_bytes),
    )
    return replace(terms, budget=left, machine=_fuller(found.candidate, terms))


def _fuller(candidate: Candidate, terms: Terms) -> Machine:
    """Return the machine with the room on disk that the download leaves."""
    free = terms.machine.disk.free_bytes
    if free is None or set(candidate.tags) & set(terms.installed):
        return terms.machine
    left = max(0, free - download_bytes(candidate, terms.partials))
    return replace(terms.machine, disk=replace(terms.machine.disk, free_bytes=left))
