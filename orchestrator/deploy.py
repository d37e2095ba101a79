"""The story: look, plan, pull, derive, load, measure, judge; step down, or move the alias."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator import log
from orchestrator.bench.verdict import Tolerances
from orchestrator.budget import budget
from orchestrator.catalog import Catalog
from orchestrator.deployment import Made, Names, learnt, parameters, requested
from orchestrator.errors import (
    DiskFull,
    Inconclusive,
    ModelUnavailable,
    NothingFits,
    OutOfMemory,
    PromiseBroken,
    PullFailed,
    ServerRefused,
)
from orchestrator.fit import Fit, Rejection, Terms, judge
from orchestrator.fit import Reason as WhyNot
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.model import Candidate
from orchestrator.plan import Plan, choose
from orchestrator.probe.disk import read_disk
from orchestrator.profile import Profile
from orchestrator.progress import Progress
from orchestrator.proof import Proof, Subject, prove
from orchestrator.runtime import installed, start
from orchestrator.runtime.embedded import install
from orchestrator.server import Server
from orchestrator.settings import Wishes
from orchestrator.source import Source
from orchestrator.source.registry import Registry
from orchestrator.source.starter import Starter
from orchestrator.survey import Survey, survey
from orchestrator.units import gb, gib

_STEADY_S = 600.0
_ALIAS_ANSWER_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What the user asked for; no tags: the profile decides."""

    profile: Profile
    catalog: Catalog
    home: Home
    environ: Mapping[str, str]
    tags: tuple[str, ...] = ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The named models, or all. Raises UnknownModel."""
        if not self.tags:
            return self.catalog.candidates
        return tuple({c.tag: c for c in map(self.catalog.find, self.tags)}.values())

    @property
    def wishes(self) -> Wishes:
        """Context and slots, as far as somebody set them."""
        given = self.profile.origin.get("parallel", "").startswith(("--", "DEPLOY_"))
        parallel = self.profile.parallel if given else None
        return Wishes(context=self.profile.context, parallel=parallel)


def intend(order: Order, seen: Survey, ruled_out: Mapping[str, Rejection] | None = None) -> Plan:
    """Return the plan for this order on this machine."""
    return choose(
        order.profile,
        seen.machine,
        order.candidates,
        wishes=order.wishes,
        named=bool(order.tags),
        ruled_out=ruled_out,
        installed=seen.names,
    )


def serving(order: Order, progress: Progress) -> Survey:
    """Return the survey of a server that answers, started (and installed) if none did."""
    parallel = order.profile.parallel
    seen = survey(order.home, order.environ, parallel=parallel)
    if seen.answers:
        return seen
    binary = installed(order.home, order.environ)
    if binary is None:
        progress.say("no Ollama on this box: installing the embedded runtime (CPU, 161 MB)")
        binary = install(order.home, report=progress.say, progress=progress.advance)
    progress.say(f"starting {binary.path.name} at {seen.server.host}")
    start(
        binary,
        order.home,
        host=seen.server.host,
        environ=order.environ,
        settings={"OLLAMA_NUM_PARALLEL": str(parallel)},
        report=progress.say,
    )
    return survey(order.home, order.environ, parallel=parallel)


def deploy(order: Order, progress: Progress) -> dict[str, Any]:
    """Deploy the best model that holds its promise; return the deployment document.

    `changed` in it is False when what serves already is what the order asks for. Raises
    NothingFits, PullFailed, PromiseBroken and the errors of the server.
    """
    seen = serving(order, progress)
    return _Loop(order, seen, progress).run()


@dataclass(slots=True)
class _Loop:
    order: Order
    seen: Survey
    progress: Progress
    ruled_out: dict[str, Rejection] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.order.home.ledger)

    def run(self) -> dict[str, Any]:
        """Try candidate after candidate until one holds."""
        host, alias = self.seen.server.host, f"{self.order.profile.alias}:latest"
        current = self.ledger.current(host, alias)
        self.ruled_out = learnt(current, datetime.now(UTC))
        while True:
            plan = intend(self.order, self.seen, self.ruled_out)
            fit = self._next(plan)
            if current and (kept := self._kept(current, plan, fit)):
                return kept
            source: Source = Registry(self.seen.server, self.order.profile.registry)
            if document := self._attempt(fit, source, plan):
                return document

    def _next(self, plan: Plan) -> Fit:
        """Return the plan's pick. Raises what it means that there is none."""
        if plan.chosen:
            for note in plan.warnings:
                self.progress.say(f"warning: {note}")
            return plan.chosen
        if self.broken:
            raise PromiseBroken(
                f"no candidate holds what was promised: {'; '.join(self.broken)}",
                rejected=[r.to_json() for r in plan.rejected],
            )
        if self.tried:
            raise PullFailed(
                f"no source has a model that fits: {'; '.join(self.tried[-3:])}",
                tried=self.tried,
            )
        raise nothing_fits(plan)

    def _kept(self, current: dict[str, Any], plan: Plan, fit: Fit) -> dict[str, Any] | None:
        """Return the current deployment if it stays: the same pick, or not yet surely a better."""
        server = self.seen.server
        derived, alias = server.find(current["model"]), server.find(current["alias"])
        if not derived or not alias or derived.digest != alias.digest:
            return None
        same = (current["tag"], current["context"], current["parallel"]) == (
            fit.candidate.tag,
            fit.estimate.load.run.context,
            fit.estimate.load.run.parallel,
        )
        asked = requested(self.order.profile, self.order.tags, self.order.wishes)
        if not same and (current["requested"] != asked or current["source"] == Starter.name):
            return None
        if not same and not self._steady(current, fit):
            return None
        if server.claim(current["model"]) is None and server.claim(current["alias"]) is None:
            self.progress.say(f"{current['model']} serves, but is not in memory: loading it")
            with self.progress.waiting(f"loading {current['model']}"):
                server.load(current["model"], keep_alive=self.order.profile.keep_alive)
        log.event("deployment.kept", tag=current["tag"], planned=plan.chosen is not None)
        return {**current, "changed": False}

    def _steady(self, current: dict[str, Any], fit: Fit) -> bool:
        """Whether to stay with the current one: a better must be seen twice, 10 minutes apart."""
        since = self.ledger.sighted(
            current["server_host"], current["alias"], fit.candidate.tag, time.time()
        )
        if since >= _STEADY_S:
            return False
        self.progress.say(
            f"{fit.candidate.tag} would fit now; {current['tag']} stays until that has lasted "
            f"{_STEADY_S / 60:.0f} minutes (seen for {since / 60:.0f})"
        )
        return True

    def _attempt(self, fit: Fit, source: Source, plan: Plan) -> dict[str, Any] | None:
        """Pull, derive, load and measure one candidate; None: it is ruled out, try the next."""
        tag = fit.candidate.tag
        try:
            self._pull(tag, fit, source)
            true = self._true(fit)
            if isinstance(true, Fit):
                return self._deployed(true, source, plan)
            self._out(true)
        except ModelUnavailable as e:
            self.tried.append(f"{source.name}: {e.what}")
            if self.order.tags:
                raise PullFailed(e.what, hint=e.hint, tried=self.tried) from e
            self._out(Rejection(tag=tag, reason="unavailable", detail=e.what))
        except OutOfMemory as e:
            self.broken.append(e.what)
            self._out(Rejection(tag=tag, reason="memory", detail=e.what))
        except DiskFull:
            raise
        except PullFailed as e:
            if isinstance(source, Starter):
                raise
            self.tried.append(f"{source.name}: {e.what}")
            return self._fall_back(e, plan)
        return None

    def _pull(self, tag: str, fit: Fit, source: Source) -> None:
        if self.seen.server.find(tag) is not None:
            self.progress.say(f"{tag} is in the server's store: nothing to download")
            return
        _check_disk(fit, self.seen)
        self.progress.say(f"pulling {tag} ({gb(fit.candidate.file_bytes)}) from {source.name}")
        source.pull(tag, self.progress)

    def _true(self, fit: Fit) -> Fit | Rejection:
        """Judge again by the header of the file that is really there."""
        shown = self.seen.server.show(fit.candidate.tag)
        if shown is None:
            raise ServerRefused(f"{fit.candidate.tag} was pulled, but the server does not have it")
        listed = fit.candidate.architecture
        shape = replace(
            shown.architecture,
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
        terms = Terms(
            profile=self.order.profile,
            machine=self.seen.machine,
            budget=budget(self.seen.machine, self.order.profile.max_memory_bytes),
            wishes=self.order.wishes,
            installed=real.tags,
        )
        return judge(real, terms, fit.placement.kind)

    def _deployed(self, fit: Fit, source: Source, plan: Plan) -> dict[str, Any] | None:
        """Derive, prove, and move the alias if the promise holds."""
        server, profile, tag = self.seen.server, self.order.profile, fit.candidate.tag
        names = Names.of(tag, fit.estimate.load.run.context, profile.alias)
        shown = server.show(tag)
        fixed = parameters(fit, self.seen.machine)
        server.derive(names.model, tag, fixed)
        derived = server.find(names.model)
        made = Made(
            fit=fit,
            names=names,
            profile=profile,
            machine=self.seen.machine,
            server_host=server.host,
            source=source.name,
            model_digest=derived.digest if derived else "",
            blob=shown.blob if shown else None,
            asked=requested(profile, self.order.tags, self.order.wishes),
            ruled_out=self.ruled_out,
            rejected=plan.rejected,
        )
        subject = Subject(
            name=names.model,
            blob=made.blob,
            digest=made.model_digest,
            options=fixed,
            estimate=fit.estimate,
            machine=self.seen.machine,
            min_tps=profile.min_tps if fit.placement.kind != "gpu" else 0.0,
            tolerances=Tolerances(memory_pass=profile.memory_pass, memory_warn=profile.memory_warn),
            keep_alive=profile.keep_alive,
        )
        return self._settle(made, prove(server, subject, self.progress))

    def _settle(self, made: Made, proof: Proof) -> dict[str, Any] | None:
        """Accept: alias, then ledger. Or record the failure and step down."""
        bench, verdict, server = proof.result.to_json(), proof.verdict, self.seen.server
        machine = self.seen.machine.to_json()
        if verdict.outcome == "inconclusive":
            raise Inconclusive(f"{made.names.model}: {_reasons(bench)}", bench=bench["verdict"])
        if verdict.outcome == "failed":
            document = made.to_json("failed", proof.estimate, bench, verdict)
            self.ledger.record_deployment(document, bench, machine)
            server.unload(made.names.model)
            server.delete(made.names.model)
            self.broken.append(f"{made.fit.candidate.tag}: {_reasons(bench)}")
            self.progress.say(f"{self.broken[-1]}; stepping down")
            reason: WhyNot = "speed" if "decode" in _reasons(bench) else "memory"
            self._out(Rejection(tag=made.fit.candidate.tag, reason=reason, detail=self.broken[-1]))
            return None
        move_alias(server, made.names)
        with self.progress.waiting(f"asking {made.names.alias} for its first answer"):
            server.chat_completion(
                self.order.profile.alias, "Say hello.", max_tokens=8, timeout_s=_ALIAS_ANSWER_S
            )
        document = made.to_json("current", proof.estimate, bench, verdict)
        document["id"] = self.ledger.record_deployment(document, bench, machine)
        return document

    def _fall_back(self, failure: PullFailed, plan: Plan) -> dict[str, Any]:
        """Deploy the starter model if the profile allows it. Raises PullFailed otherwise."""
        if self.order.profile.fallback != "starter" or self.order.tags:
            raise PullFailed(
                f"no model source delivered: {'; '.join(self.tried)}", tried=self.tried
            ) from failure
        self.progress.say(f"warning: {failure.what}")
        self.progress.say(
            "warning: NO MODEL SOURCE IS REACHABLE. Falling back to the starter model "
            "(SmolLM2-135M): it answers, but it is no DeepSeek or Qwen model"
        )
        return self._starter(Starter(self.seen.server, self.order.home), plan)

    def _starter(self, starter: Starter, plan: Plan) -> dict[str, Any]:
        candidate = starter.candidate(self.progress)
        profile = replace(self.order.profile, allow_licence=True)
        own = choose(profile, self.seen.machine, [candidate], named=True, installed=self.seen.names)
        if own.chosen is None:
            raise nothing_fits(own)
        current = self.ledger.current(self.seen.server.host, f"{profile.alias}:latest")
        if current and (kept := self._kept(current, own, own.chosen)):
            return kept
        document = self._attempt(own.chosen, starter, plan)
        if document is None:
            raise PromiseBroken(f"not even the starter model holds: {'; '.join(self.broken)}")
        return document

    def _out(self, rejection: Rejection) -> None:
        log.event("candidate.ruled_out", tag=rejection.tag, reason=rejection.reason)
        self.ruled_out[rejection.tag] = rejection


def move_alias(server: Server, names: Names) -> None:
    """Point the alias at the derived model and read it back. Raises ServerRefused."""
    server.copy(names.model, names.alias)
    target, alias = server.find(names.model), server.find(names.alias)
    if target is None or alias is None or target.digest != alias.digest:
        raise ServerRefused(f"the alias {names.alias} does not name {names.model} after the copy")


def nothing_fits(plan: Plan) -> NothingFits:
    """Return the error that names the nearest candidate and what it is short of."""
    short = [r for r in plan.rejected if r.short_by_bytes]
    near = min(short, key=lambda r: r.short_by_bytes or 0, default=None)
    nearest = f"; nearest is {near.tag}: {near.detail}" if near else ""
    return NothingFits(
        f"nothing fits in {gib(plan.budget.bytes)} ({plan.budget.basis}){nearest}",
        plan=plan.to_json(),
    )


def _check_disk(fit: Fit, seen: Survey) -> None:
    """Look again right before the bytes move. Raises DiskFull with needed and free."""
    store = seen.machine.disk.model_store
    free = read_disk(Path(store)).free_bytes if store else None
    need = int(fit.candidate.file_bytes * 1.02)
    if free is not None and free < need:
        raise DiskFull(
            f"pulling {fit.candidate.tag} needs {gib(need)} at {store}; {gib(free)} is free",
            needed_bytes=need,
            free_bytes=free,
        )


def _reasons(bench: Mapping[str, Any]) -> str:
    checks: Sequence[Mapping[str, Any]] = bench["verdict"]["checks"]
    bad = [c for c in checks if c["outcome"] in ("failed", "inconclusive")]
    return ", ".join(f"{c['name']} {c['detail']}".strip() for c in bad)
