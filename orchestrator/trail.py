"""What one run of the loop has learnt: sources that failed, candidates that are out, and why."""

from dataclasses import dataclass, field
from typing import Any

from orchestrator import log
from orchestrator.errors import DeployError, PromiseBroken, PullFailed, ServerRefused
from orchestrator.fit import Rejection
from orchestrator.order import nothing_fits
from orchestrator.plan import Plan


@dataclass(slots=True)
class Trail:
    """`tried` are sources with their failure, `broken` candidates that did not hold.

    `rehearsals` are the documents of those that a stand-in spoke for, by tag.
    """

    ruled_out: dict[str, Rejection]
    tried: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    rehearsals: dict[str, dict[str, Any]] = field(default_factory=dict)

    def out(self, rejection: Rejection) -> None:
        """Rule a candidate out for the rest of the run."""
        log.event("candidate.ruled_out", tag=rejection.tag, reason=rejection.reason)
        self.ruled_out[rejection.tag] = rejection

    def failed_source(self, source: str, failure: PullFailed) -> None:
        """Remember what a source said."""
        self.tried.append(f"{source}: {failure.what}")

    def broke(self, rejection: Rejection) -> None:
        """Rule a candidate out that was loaded or measured and did not hold.

        Raises ServerRefused: three runners died, and nothing said for want of memory. The server is
        what is broken then, and the next download would be in vain too.
        """
        self.broken.append(f"{rejection.tag}: {rejection.detail}")
        self.out(rejection)
        if sum(r.reason == "server" for r in self.ruled_out.values()) > 2:
            raise ServerRefused(f"the server cannot run models: {'; '.join(self.broken)}")

    def dead_end(self, plan: Plan) -> DeployError:
        """Return what it means that the plan has no pick any more."""
        rejected = [r.to_json() for r in plan.rejected]
        if self.broken:
            said = "; ".join(self.broken)
            return PromiseBroken(f"no candidate holds its promise: {said}", rejected=rejected)
        if self.tried:
            said = "; ".join(self.tried[-3:])
            return PullFailed(
                f"no source has a model that fits ({len(self.tried)} tried): {said}",
                tried=self.tried,
            )
        return nothing_fits(plan)
