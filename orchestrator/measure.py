"""`deploy bench`: measure any model of the server, with the options that it is deployed with."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.bench.comparison import Comparison, compared, differs, key
from orchestrator.bench.regression import SCATTER_RUNS
from orchestrator.bench.result import subject_json
from orchestrator.bench.verdict import Tolerances
from orchestrator.budget import budget
from orchestrator.deployment import parameters
from orchestrator.errors import (
    DiskFull,
    Inconclusive,
    InvalidInput,
    ServerRefused,
    ServerUnreachable,
    UnknownModel,
)
from orchestrator.fit import Fit, Terms, predicted
from orchestrator.keep import reload
from orchestrator.ledger import Ledger
from orchestrator.model import Candidate, ModelRef
from orchestrator.offload import offloaded
from orchestrator.order import Order
from orchestrator.placement import Kind
from orchestrator.plan import unmet
from orchestrator.progress import Progress
from orchestrator.proof import Subject, prove
from orchestrator.server.shown import Shown
from orchestrator.survey import Survey

Document = dict[str, Any]
_SLOWER = ("suspected", "regressed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """How a model is to be measured: the effort, or a bound on all of it in seconds; the numbers of
    users at once (None: the effort's); the number of the run to compare with (None: the baseline).
    """

    effort: str = "default"
    time_budget_s: float | None = None
    users: tuple[int, ...] | None = None
    against: int | None = None


def bench(order: Order, seen: Survey, model: str, asked: Asked, progress: Progress) -> Document:
    """Measure `model` on the server of `seen`, record it, and return the bench document.

    `id` in it is its number in the ledger, None if that cannot be written. A loss of speed is
    measured again at once.
    Raises UnknownModel: the server does not have it. InvalidInput: there is no run of that number;
    Inconclusive: it is of another kind. ServerUnreachable, OutOfMemory.
    """
    ledger, loaded = Ledger(order.home.ledger), {m.name for m in seen.server.loaded()}
    against = None if asked.against is None else ledger.known_run(asked.against)
    subject = replace(
        subject_of(order, seen, model, progress),
        effort=asked.effort,
        time_budget_s=asked.time_budget_s,
        users=asked.users,
    )
    if against and (others := differs(_conditions(subject), against)):
        what = f"run {asked.against} is of another kind: {', '.join(others)}"
        raise Inconclusive(
            what, hint="`deploy history` lists the runs; without --compare it is kept"
        )
    served = [c for c in ledger.currents(seen.server.host) if loaded & {c["model"], c["alias"]}]
    try:
        return _Bench(order, seen, subject, ledger, against, progress).run()
    finally:
        for serves in served:
            with suppress(ServerUnreachable, ServerRefused):
                reload(order, seen, serves, progress)


class _Bench:
    """One measurement with its baseline, and the second one that a suspicion asks for."""

    def __init__(
        self,
        order: Order,
        seen: Survey,
        subject: Subject,
        ledger: Ledger,
        against: Document | None,
        progress: Progress,
    ) -> None:
        self._started = time.monotonic()
        self._order = order
        self._seen = seen
        self._ledger = ledger
        self._against = against
        self._progress = progress
        own = key(_conditions(subject))
        self._rolling, self._pinned = ledger.baseline(own, SCATTER_RUNS), ledger.pinned(own)
        self._before = ledger.last_judged(own)
        self._subject = replace(subject, like=self._shape(subject.effort))

    def run(self) -> Document:
        first = self._measured(self._subject)
        found = self._compared([first])
        first = self._recorded(first, found)
        if first["id"] is None:
            return first
        taken = [first]
        named = self._with_named(taken)
        told = next((c for c in (found, named) if c and c.outcome in _SLOWER), None)
        if told and (alone := self._again(first)):
            self._progress.say(f"{told.why}: measuring again, to be sure")
            taken.append(self._measured(alone))
            first = self._confirmed(*taken)
            named = self._with_named(taken)
        self._clear(first)
        return {**first, "comparison": named.to_json()} if named else first

    def _clear(self, now: Document) -> None:
        """Let an earlier suspicion go that this run does not bear out: left out for good, such runs
        would leave a baseline of nothing but fast nights.
        """
        before = self._before and self._before["comparison"]
        if not (self._before and before) or before["outcome"] != "suspected":
            return
        if now["comparison"]["outcome"] in ("same", "better"):
            cleared = {"outcome": "same", "why": f"run {now['id']} did not bear out a suspicion"}
            self._ledger.judge(self._before["id"], {**before, **cleared})

    def _with_named(self, taken: Sequence[Document]) -> Comparison | None:
        """Compare with the run that was named, if one was; the ledger keeps the other result."""
        if self._against is None:
            return None
        return compared(taken, rolling=self._rolling, run=self._against)

    def _confirmed(self, first: Document, second: Document) -> Document:
        """Record the second trial, and return the first with what both came to."""
        both = replace(self._compared([first, second]), confirms=first["id"])
        second = self._recorded(second, both)
        if both.outcome == "inconclusive":  # noise at the second trial takes no suspicion away
            return first
        if second["id"] is None:
            return first
        final = {**both.to_json(), "confirms": None, "confirmed_by": second["id"]}
        self._ledger.judge(first["id"], final)
        return {**first, "comparison": final}

    def _measured(self, subject: Subject) -> Document:
        order = self._order
        return prove(self._seen.server, subject, self._progress, order.home).result.to_json()

    def _compared(self, newest: Sequence[Document]) -> Comparison:
        return compared(newest, rolling=self._rolling, pinned=self._pinned, before=self._before)

    def _recorded(self, document: Document, found: Comparison) -> Document:
        judged = {**document, "comparison": found.to_json()}
        machine = self._seen.machine.to_json()
        try:
            return {**judged, "id": self._ledger.record_bench(judged, machine=machine)}
        except DiskFull as e:  # an hour of measuring is not lost by it
            self._progress.say(f"error: the run is not kept: {e.what}\nhint: {e.hint}")
            return judged

    def _shape(self, effort: str) -> tuple[int, int] | None:
        """Return the main shape of the newest run to compare with that took the same effort."""
        known = [self._against] if self._against else [self._pinned, *self._rolling]
        like = [d for d in known if d and d["effort"] == effort]
        if not like:
            return None
        return like[-1]["prompt"]["tokens"], like[-1]["generate_tokens"]

    def _again(self, first: Document) -> Subject | None:
        """Return the second trial: the main shape alone; None: no time is left for it."""
        shape = first["prompt"]["tokens"], first["generate_tokens"]
        subject = replace(self._subject, effort="again", users=(), like=shape)
        if subject.time_budget_s is None:
            return subject
        left_s = subject.time_budget_s - (time.monotonic() - self._started)
        taken_s = sum(s["wall_s"] for s in first["samples"] if _main(s, shape))
        return replace(subject, time_budget_s=left_s) if left_s > taken_s else None


def _main(sample: Mapping[str, Any], shape: tuple[int, int]) -> bool:
    return (sample["want_prompt_tokens"], sample["want_tokens"]) == shape


def _conditions(subject: Subject) -> Document:
    return subject_json(
        model=subject.name,
        digest=subject.digest,
        blob=subject.blob,
        machine=subject.machine,
        options=subject.options,
        promised=subject.estimate,
    )


def subject_of(order: Order, seen: Survey, model: str, progress: Progress) -> Subject:
    """Return what is to be measured under a name: tag, alias or derived model."""
    server, profile = seen.server, order.profile
    deployed = _deployed(order, seen, model)
    name = deployed["model"] if deployed else model
    found, shown = server.find(name), server.show(name)
    if found is None or shown is None:
        raise _absent(order, server.host, model)
    if deployed:
        profile = replace(profile, context=deployed["context"], parallel=deployed["parallel"])
    candidate = candidate_of(found.name, shown)
    terms = Terms(
        profile=profile,
        machine=seen.machine,
        budget=budget(seen.machine, None),
        wishes=replace(
            order.wishes,
            context=profile.context,
            parallel=deployed["parallel"] if deployed else order.wishes.parallel,
            num_batch=deployed["settings"].get("num_batch") if deployed else None,
        ),
        installed=candidate.tags,
    )
    fit = _as_deployed(candidate, terms, deployed)
    for note in unmet(fit.estimate):
        progress.say(f"warning: {note}")
    return Subject(
        name=found.name,
        blob=shown.blob,
        digest=found.digest,
        options=deployed["settings"] if deployed else parameters(fit, seen.machine),
        estimate=fit.estimate,
        machine=seen.machine,
        min_tps=0.0,
        tolerances=Tolerances(memory_pass=profile.memory_pass, memory_warn=profile.memory_warn),
        keep_alive=profile.keep_alive if deployed else "5m",
    )


def _as_deployed(candidate: Candidate, terms: Terms, deployed: dict[str, Any] | None) -> Fit:
    """Return the estimate in the placement that the deployment fixed, or that the server takes."""
    kind: Kind | None = deployed["placement"] if deployed else None
    pinned = offloaded(candidate, terms, kind) if kind == "split" else None
    if isinstance(pinned, Fit):
        return pinned
    return predicted(candidate, terms, cpu=kind == "cpu")


def _deployed(order: Order, seen: Survey, model: str) -> dict[str, Any] | None:
    """Return the current deployment that this name means, if one does."""
    try:
        wanted = str(ModelRef.parse(model)).lower()
    except ValueError as e:
        raise InvalidInput(str(e)) from e
    for current in Ledger(order.home.ledger).currents(seen.server.host):
        if wanted in (current[key].lower() for key in ("tag", "alias", "model")):
            return current
    return None


def _absent(order: Order, host: str, model: str) -> UnknownModel:
    """Say what to do about a model that the server lacks."""
    what = f"the server at {host} does not have {model}"
    try:
        tag = order.catalog.find(model).tag
    except UnknownModel as e:
        hint = "`ollama list` shows what it has, `deploy catalog` what could be deployed"
        return UnknownModel(f"{what}, and {e.what}", hint=hint)
    return UnknownModel(what, hint=f"get it with `deploy auto {tag}`")


def candidate_of(name: str, shown: Shown) -> Candidate:
    """Return an installed model as a candidate, by its true header."""
    return Candidate(
        tags=(name,),
        model=name,
        family=name.partition(":")[0],
        kind="chat",
        architecture=shown.architecture,
        quantization=shown.quantization,
        format="gguf",
        parameters_total=shown.parameters_total,
        parameters_active=shown.parameters_total,
        file_bytes=shown.weights.total_bytes,
        bytes_basis="header",
        weights=shown.weights,
    )
