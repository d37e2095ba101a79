"""Before and after a change, side by side: memory, placement, speed, and whether it still fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.explain.case import Answer, Case
from orchestrator.explain.changes import Changes
from orchestrator.explain.ways import library_lacks, needs_flash, ways
from orchestrator.model import Candidate
from orchestrator.plan import choose, unmet


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """`then` is what a plan over all models would pick after the change.

    None: nothing fits, or the change is of one model alone: it was named, or its quantization is.
    `named`: a tag was. `left` says what is missing to stay wholly on GPUs, where the change drives
    layers off them.
    """

    changes: Changes
    before: tuple[Case, Answer]
    after: tuple[Case, Answer]
    then: str | None
    left: str | None
    named: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the document (schema `explain`)."""
        case, answer = self.after
        machine = self.before[0].machine
        return {
            "schema": 1,
            "about": "what-if",
            "machine": {"name": machine.name, "digest": machine.digest},
            "server_version": machine.server.version,
            "what_if": {
                "changes": self.changes.to_json(),
                "before": _side(*self.before),
                "after": _side(case, answer),
                "notes": list(self._notes()),
                "ways": list(ways(self.changes, case, answer, named=self._tag_is_needed)),
                "left_gpu": self.left,
                "plan_then": self.then,
            },
        }

    @property
    def _tag_is_needed(self) -> bool:
        return self.named or self.then != self.after[0].candidate.tag

    def _notes(self) -> Iterator[str]:
        """Yield what the server will not do as asked, and what would make it."""
        case, answer = self.after
        yield from unmet(answer.fit.estimate)
        if needs_flash(self.changes, case, answer):
            yield f"with flash=on the cache would be {self.changes.kv}"
        if library_lacks(self.changes, case.candidate):
            made = f"{case.candidate.model} at {self.changes.quantize}"
            yield f"the library has no {made}: these are the numbers of its layout"


def compared(
    changes: Changes, before: Case, after: Case, candidates: Sequence[Candidate]
) -> Comparison:
    """Return both sides; no candidates: the model was named.

    Raises InvalidInput: the memory of such a file is not known.
    """
    alone = changes.quantize is not None or not candidates
    was, found = before.answer(), after.answer()
    left = None
    if was.fits and was.fit.placement.kind == "gpu" and found.fit.placement.kind != "gpu":
        on_gpu = replace(after, profile=replace(after.profile, placement="gpu")).answer()
        left = on_gpu.rejection.detail if on_gpu.rejection else None
    return Comparison(
        changes=changes,
        before=(before, was),
        after=(after, found),
        left=left,
        then=None if alone else _then(after, candidates),
        named=not candidates,
    )


def _then(after: Case, candidates: Sequence[Candidate]) -> str | None:
    """Return what a plan over all candidates would pick."""
    found = choose(
        after.profile,
        after.machine,
        candidates,
        wishes=after.wishes,
        installed=after.installed,
        partials=after.partials,
    )
    return found.chosen.candidate.tag if found.chosen else None


def _side(case: Case, answer: Answer) -> dict[str, Any]:
    found, rejection = answer.fit.estimate, answer.rejection
    run = found.load.run
    missing = rejection.detail if rejection else None
    if answer.slow:
        missing = answer.warnings[-1]
    return {
        "tag": case.candidate.tag,
        "fits": rejection is None,
        "slow": answer.slow,
        "missing": missing,
        "reason": rejection.reason if rejection else None,
        "short_by_bytes": rejection.short_by_bytes if rejection else None,
        "placement": found.placement.kind,
        "gpu_layers": found.placement.gpu_layers,
        "layers": found.placement.total_layers,
        "server_version": case.machine.server.version,
        "context": run.context,
        "parallel": run.parallel,
        "kv_cache_type": run.kv_cache_type,
        "flash_attention": run.flash_attention,
        "memory": {
            "weights_bytes": found.weights_bytes,
            "kv_cache_bytes": found.kv_cache_bytes,
            "compute_bytes": found.compute_bytes,
            "overhead_bytes": found.overhead_bytes,
            "total_bytes": found.total_bytes,
        },
        "devices": [{"index": d.index, "bytes": d.bytes} for d in found.devices],
        "host_bytes": found.host_bytes,
        "decode_tps": found.speed.to_json()["decode_tps"] if found.speed else None,
    }
