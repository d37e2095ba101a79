"""One model on one machine under one profile, and the plan's judgement of it."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from orchestrator.budget import budget
from orchestrator.errors import InvalidInput
from orchestrator.fit import Fit, Rejection, Terms, predicted
from orchestrator.machine import Machine
from orchestrator.model import Candidate
from orchestrator.plan import choose
from orchestrator.profile import Profile
from orchestrator.settings import Wishes


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the plan says of a case.

    `fit` is what the server would do with it, fit or not; `rejection` is None where it fits.
    `slow`: it fits, and is below the floor in speed.
    """

    fit: Fit
    rejection: Rejection | None
    why: str
    warnings: tuple[str, ...] = ()
    slow: bool = False

    @property
    def fits(self) -> bool:
        """Whether a plan would take it without a reservation."""
        return self.rejection is None and not self.slow


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """`installed` and `partials`: see fit.Terms."""

    profile: Profile
    machine: Machine
    candidate: Candidate
    wishes: Wishes
    installed: Collection[str] = ()
    partials: Collection[tuple[int, int]] = ()

    @property
    def terms(self) -> Terms:
        """What the candidate is judged by."""
        return Terms(
            profile=self.profile,
            machine=self.machine,
            budget=budget(self.machine, self.profile.max_memory_bytes),
            wishes=self.wishes,
            installed=self.installed,
            partials=self.partials,
        )

    def answer(self) -> Answer:
        """Return the judgement of `deploy plan TAG`.

        Raises InvalidInput: the memory of such a file is not known.
        """
        found = choose(
            self.profile,
            self.machine,
            (self.candidate,),
            wishes=self.wishes,
            named=True,
            installed=self.installed,
            partials=self.partials,
        )
        if found.chosen:
            return Answer(
                fit=found.chosen,
                rejection=None,
                why=found.why,
                warnings=found.warnings,
                slow=found.slow,
            )
        rejection = found.rejected[0]
        if rejection.reason == "unsupported":
            raise InvalidInput(
                f"{self.candidate.tag}: {rejection.detail}",
                hint="`deploy catalog` lists the models that can be deployed",
            )
        fit = predicted(self.candidate, self.terms, cpu=self.profile.placement == "cpu")
        return Answer(fit=fit, rejection=rejection, why=rejection.detail)

    def held(self, answer: Answer) -> "Case":
        """Return the case in the placement that was found: there it must go on fitting.

        The floor is let go where the model is below it already; what fits nowhere stays as it is.
        """
        if answer.rejection:
            return self
        floor = 0.0 if answer.slow else self.profile.min_tps
        kind = answer.fit.placement.kind
        return replace(self, profile=replace(self.profile, placement=kind, min_tps=floor))

    def at_context(self, tokens: int) -> "Case":
        """Return the case with another context a slot."""
        return replace(self, wishes=replace(self.wishes, context=tokens))

    def at_slots(self, slots: int) -> "Case":
        """Return the case under a server that was started with that many slots."""
        server = self.machine.server
        settings = replace(server.settings, num_parallel=slots)
        machine = replace(self.machine, server=replace(server, settings=settings))
        return replace(self, machine=machine, wishes=replace(self.wishes, parallel=slots))
