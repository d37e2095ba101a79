"""The whole explanation of one model on one machine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.budget import Budget
from orchestrator.explain.case import Answer, Case
from orchestrator.explain.decided import Decision, decisions
from orchestrator.explain.larger import Above, above
from orchestrator.explain.pace import Pace, pace
from orchestrator.explain.parts import Part, Place, parts, places
from orchestrator.explain.solve import Limit, largest_context, most_slots
from orchestrator.fit import Rejection
from orchestrator.model import Candidate
from orchestrator.units import gib


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """`picked`: the profile chose the model, nobody named it."""

    case: Case
    answer: Answer
    budget: Budget
    picked: bool
    parts: tuple[Part, ...]
    places: tuple[Place, ...]
    larger: tuple[Above, ...]
    context: Limit
    slots: Limit
    settings: tuple[Decision, ...]
    pace: Pace

    def to_json(self) -> dict[str, Any]:
        """Return the document (schema `explain`)."""
        machine = self.case.machine
        return {
            "schema": 1,
            "about": "model",
            "machine": {"name": machine.name, "digest": machine.digest},
            "server_version": machine.server.version,
            "budget": {
                "bytes": self.budget.bytes,
                "reserve_bytes": self.budget.reserve_bytes,
                "basis": self.budget.basis,
            },
            "model": self._model_json(),
        }

    def _model_json(self) -> dict[str, Any]:
        estimate, rejection = self.answer.fit.estimate, self.answer.rejection
        return {
            "tag": self.case.candidate.tag,
            "picked": self.picked,
            "fits": rejection is None,
            "slow": self.answer.slow,
            "why": self.answer.why,
            "warnings": list(self.answer.warnings),
            "rejection": rejection.to_json() if rejection else None,
            "placement": estimate.placement.kind,
            "gpu_layers": estimate.placement.gpu_layers,
            "layers": estimate.placement.total_layers,
            "estimate": estimate.to_json(),
            "parts": [p.to_json() for p in self.parts],
            "places": [p.to_json() for p in self.places],
            "larger": [a.to_json() for a in self.larger],
            "limits": {"context": self.context.to_json(), "slots": self.slots.to_json()},
            "settings": [d.to_json() for d in self.settings],
            "speed": self.pace.to_json(),
        }


def explained(
    case: Case,
    candidates: Sequence[Candidate],
    *,
    picked: bool = False,
    why: str | None = None,
    rejected: Iterable[Rejection] = (),
) -> Explanation:
    """Return the explanation of a case; `why` and `rejected` are those of the plan that picked it.

    Raises InvalidInput: the memory of such a file is not known.
    """
    answer = case.answer()
    estimate, allowed = answer.fit.estimate, case.terms.budget
    found_places = places(estimate, allowed)
    if answer.rejection is None:
        answer = replace(answer, why=why or f"it was named, and fits: {_room(found_places)}")
    return Explanation(
        case=case,
        answer=answer,
        budget=allowed,
        picked=picked,
        parts=parts(estimate, estimate.to_json()["memory"]["basis"]),
        places=found_places,
        larger=above(case.held(answer), candidates, rejected),
        context=largest_context(case),
        slots=most_slots(case),
        settings=decisions(case, estimate),
        pace=pace(estimate, case.machine),
    )


def _room(found: Sequence[Place]) -> str:
    """Return what each place holds of what is free there."""
    return ", ".join(
        f"{gib(p.bytes)} of {gib(p.free_bytes)} "
        + ("of host memory" if p.index is None else f"on GPU {p.index}")
        for p in found
    )
