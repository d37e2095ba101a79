"""What lies above a model: the next larger one and the next finer file, and what they lack."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from orchestrator.explain.case import Answer, Case
from orchestrator.fit import Rejection
from orchestrator.model import Candidate
from orchestrator.plan import eligible
from orchestrator.units import gib

Relation = Literal["more parameters", "finer quantization"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Above:
    """A candidate above the one explained; `reason` is None where it fits as well."""

    tag: str
    relation: Relation
    reason: str | None
    short_by_bytes: int | None
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the explanation's `larger`."""
        return {
            "tag": self.tag,
            "relation": self.relation,
            "reason": self.reason,
            "short_by_bytes": self.short_by_bytes,
            "detail": self.detail,
        }


def above(
    case: Case, candidates: Sequence[Candidate], known: Iterable[Rejection] = ()
) -> tuple[Above, ...]:
    """Return what is next above the case's model; `known` are the rejections of its plan."""
    rejected = {r.tag: r for r in known}
    pairs: tuple[tuple[Relation, Candidate | None], ...] = (
        ("more parameters", _next_larger(case, candidates)),
        ("finer quantization", _next_finer(case, candidates)),
    )
    return tuple(_judged(case, each, relation, rejected) for relation, each in pairs if each)


def _next_larger(case: Case, candidates: Iterable[Candidate]) -> Candidate | None:
    """Return the fewest parameters above, in the smallest file that the profile would take."""
    own = case.candidate.parameters_total
    more = [
        c
        for c in eligible(candidates, case.profile)
        if c.parameters_total > own and (c.commercial_use or case.profile.allow_licence)
    ]
    return min(more, key=lambda c: (c.parameters_total, c.file_bytes, c.tag), default=None)


def _next_finer(case: Case, candidates: Iterable[Candidate]) -> Candidate | None:
    own = case.candidate
    finer = [
        c
        for c in candidates
        if (c.model, c.kind, c.format) == (own.model, own.kind, own.format)
        and c.file_bytes > own.file_bytes
        and c.quantization != own.quantization
    ]
    return min(finer, key=lambda c: (c.file_bytes, c.tag), default=None)


def _judged(
    case: Case, candidate: Candidate, relation: Relation, known: Mapping[str, Rejection]
) -> Above:
    tag, rejection = candidate.tag, known.get(candidate.tag)
    if rejection is None:
        answer = replace(case, candidate=candidate).answer()
        rejection = answer.rejection
        if rejection is None:
            return Above(
                tag=tag,
                relation=relation,
                reason="speed" if answer.slow else None,
                short_by_bytes=None,
                detail=_fitting(case, answer),
            )
    return Above(
        tag=tag,
        relation=relation,
        reason=rejection.reason,
        short_by_bytes=rejection.short_by_bytes,
        detail=rejection.detail,
    )


def _fitting(case: Case, answer: Answer) -> str:
    """Say of what fits as well how fast it is, and whether the profile would take it at all."""
    if answer.slow:
        return f"too slow: {answer.warnings[-1]}"
    found, profile = answer.fit.estimate, case.profile
    speed = f", about {found.speed.decode_tps[1]:.1f} tokens/s" if found.speed else ""
    text = f"fits too: {gib(found.total_bytes)}, {found.placement.kind}{speed}"
    quantization = answer.fit.candidate.quantization
    if quantization not in profile.quantizations:
        text += f"; profile {profile.name} takes {quantization} only by its tag"
    return text
