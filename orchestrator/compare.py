"""Several machines side by side: which box holds which model. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.fit import Rejection
from orchestrator.machine import Machine
from orchestrator.model import Candidate
from orchestrator.plan import Plan, choose
from orchestrator.profile import Profile
from orchestrator.settings import Wishes

_HARDWARE = ("memory", "disk", "speed", "speed_unknown")


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One machine's plan; `next_larger` is what it would hold if it were a little larger."""

    source: str
    plan: Plan
    next_larger: Rejection | None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a comparison document (schema `compare`)."""
        larger = self.next_larger
        return {
            "file": self.source,
            "plan": self.plan.to_json(),
            "next_larger": larger.to_json() if larger else None,
        }


def compare(
    profile: Profile,
    machines: Mapping[str, Machine],
    candidates: Sequence[Candidate],
    *,
    wishes: Wishes | None = None,
    named: bool = False,
) -> tuple[Compared, ...]:
    """Plan for each machine, by the names of their files, in that order; see choose()."""
    plans = {
        source: choose(profile, machine, candidates, wishes=wishes, named=named)
        for source, machine in machines.items()
    }
    return tuple(
        Compared(source=source, plan=plan, next_larger=next_larger(plan, candidates))
        for source, plan in plans.items()
    )


def next_larger(plan: Plan, candidates: Sequence[Candidate]) -> Rejection | None:
    """Return the smallest larger model that hardware keeps from this machine; None: there is none.

    Without a pick every model is larger.
    """
    size = {c.tag: (c.parameters_total, c.file_bytes) for c in candidates}
    least = plan.chosen.candidate.parameters_total if plan.chosen else 0
    larger = [r for r in plan.rejected if r.reason in _HARDWARE and size[r.tag][0] > least]
    return min(larger, key=lambda r: (size[r.tag], r.tag), default=None)
