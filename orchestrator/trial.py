"""The trial of one model: load it cold, measure it, let several users and a chat at it."""

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import log
from orchestrator.bench.company import disturbance, others
from orchestrator.bench.concurrency import Sweep, sweep
from orchestrator.bench.effort import EFFORTS, Effort
from orchestrator.bench.loads import Load, Loader
from orchestrator.bench.measurement import Measurement
from orchestrator.bench.noise import ForeignCpu
from orchestrator.bench.pilot import prepare
from orchestrator.bench.progress import Progress as Heard
from orchestrator.bench.request import Target
from orchestrator.bench.run import measure
from orchestrator.bench.sampler import MemoryPeak, RunnerMemory
from orchestrator.bench.thinking import Thinking, think
from orchestrator.bench.verdict import Tolerances
from orchestrator.bench.workload import Prompts, Workload
from orchestrator.errors import ServerRefused
from orchestrator.estimate import Estimate
from orchestrator.machine import Machine
from orchestrator.progress import Progress
from orchestrator.runtime.runner import Runner, runners_of
from orchestrator.server import Server
from orchestrator.server.shown import Claim
from orchestrator.units import duration

# A busy box slows down, it must not hold the loop for ever: times the budget, but room for a few
# requests at the rate that was seen, so that there is a sample at all.
_PATIENCE, _PATIENCE_REQUESTS, _PATIENCE_S = 2.5, 6, (90.0, 900.0)
_LONG_PATIENCE = 1.5  # of a budget that is long itself
_COLD_SHARE = 0.2  # of the budget; a hard disk takes minutes for a large file
_USERS_SHARE, _CHATS_SHARE = 0.15, 0.1
_WINDOW_REQUESTS, _SHORTEST_WINDOW_S = 3, 1.0
_CHAT_TOKENS = 512
_SMALLEST = (32, 16)  # where a bound on the time leaves no room for better


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is to be measured: a model on the server, its estimate, and the terms it must meet.

    `budget_s` sizes the measurement, `time_budget_s` bounds it too. `users` replaces the effort's
    numbers of users at once; `like` is the main shape of the runs that it will be compared with.
    """

    name: str
    blob: str | None
    digest: str | None
    options: Mapping[str, object]
    estimate: Estimate
    machine: Machine
    min_tps: float
    tolerances: Tolerances
    keep_alive: float | str
    budget_s: float | None = None
    effort: str = "validate"
    time_budget_s: float | None = None
    users: tuple[int, ...] | None = None
    like: tuple[int, int] | None = None

    @property
    def wanted(self) -> Effort:
        """How much is to be measured."""
        effort = EFFORTS[self.effort]
        budget_s = self.time_budget_s or self.budget_s or effort.budget_s
        users = effort.users if self.users is None else self.users
        smallest = effort.smallest if self.time_budget_s is None else _SMALLEST
        return replace(effort, budget_s=budget_s, users=users, smallest=smallest)


@dataclass(frozen=True, slots=True)
class Found:
    """What the trial found. `runner` is the process that held the model, where it can be seen.

    `failed_at`: the samples were taken, and then the model failed at something, and how.
    """

    measurement: Measurement
    peak: MemoryPeak
    claim: Claim | None
    loads: tuple[Load, ...]
    sweep: Sweep
    thinking: Thinking | None
    runner: Runner | None
    disturbed: str | None
    left_out: tuple[str, ...]
    failed_at: tuple[str, str] | None
    took_s: float


def try_out(server: Server, subject: Subject, progress: Progress) -> Found:
    """Load `subject` into a new runner and measure it.

    Raises OutOfMemory, ServerRefused, ServerUnreachable: it could not be loaded or answered;
    RunnerKilled, RunnerDied: the process that holds it ended while it loaded or answered.
    """
    return _Trial(server, subject, progress).run()


class _Trial:
    """One subject on one server; everything that waits ends at `_deadline`, if there is one."""

    def __init__(self, server: Server, subject: Subject, progress: Progress) -> None:
        self._server = server
        self._subject = subject
        self._progress = progress
        self._wanted = subject.wanted
        self._started = time.perf_counter()
        self._left_out: list[str] = []
        self._failed_at: tuple[str, str] | None = None
        self._noise = ForeignCpu(subject.machine.server.pid)

    def run(self) -> Found:
        server, subject = self._server, self._subject
        loader = self._loader()
        self._unload_all(loader)
        before = others(server, subject.name)
        loads = self._cold_loads(loader)
        file = subject.blob and subject.blob.replace(":", "-")
        with RunnerMemory(subject.machine.server.pid, model_file=file) as memory:
            with (
                log.stage("load", model=subject.name),
                self._progress.waiting(f"loading {subject.name}"),
            ):
                loads.append(loader.load())
            memory.loaded()
            claim, runner = server.claim(subject.name), self._runner()
            with log.stage("measure", model=subject.name):
                measurement = self._measure(memory)
                users = self._several(measurement)
                thinking = self._chats()
        peak = memory.peak()
        return Found(
            measurement=measurement,
            peak=peak,
            claim=claim,
            loads=tuple(loads),
            sweep=users,
            thinking=thinking,
            runner=runner,
            disturbed=disturbance(server, peak, others(server, subject.name) - before),
            left_out=tuple(self._left_out),
            failed_at=self._failed_at,
            took_s=self._used_s(),
        )

    @property
    def _deadline(self) -> float | None:
        """When all must have ended, on the clock of time.perf_counter(); None: untold."""
        budget_s = self._subject.time_budget_s
        return None if budget_s is None else self._started + budget_s

    def _unload_all(self, loader: Loader) -> None:
        """Take every name of these weights out of memory: a warm runner answers for all of them."""
        subject = self._subject
        for model in self._server.loaded():
            same = subject.blob is not None and self._server.weights(model.name) == subject.blob
            if model.name == subject.name or same:
                self._server.unload(model.name)
        loader.await_end()

    def _runner(self) -> Runner | None:
        pid, blob = self._subject.machine.server.pid, self._subject.blob
        found = [r for r in runners_of(pid) if r.blob == blob] if pid and blob else []
        return found[-1] if found else None

    def _loader(self) -> Loader:
        server, subject = self._server, self._subject
        path = server.blob_path(subject.name) if subject.machine.server.local else None
        return Loader(
            server=server,
            model=subject.name,
            options=subject.options,
            keep_alive=subject.keep_alive,
            file=Path(path) if path else None,
            gone=lambda: self._runner() is None,
        )

    def _cold_loads(self, loader: Loader) -> list[Load]:
        """Take the loads before the one that is measured; the first with the file on its disk."""
        count = self._wanted.loads - 1
        loads: list[Load] = []
        likely_s = self._subject.estimate.speed and self._subject.estimate.speed.load_s[1]
        if count and likely_s and likely_s > _COLD_SHARE * self._wanted.budget_s:
            self._left_out.append(f"loads from the disk: about {duration(likely_s)} each")
            count = 0
        for number in range(count):
            if loads and self._used_s() > _COLD_SHARE * self._wanted.budget_s:
                each = duration(loads[0].wall_s)
                self._left_out.append(f"{count - number} more loads: {each} each")
                break
            name = f"loading {self._subject.name}, {number + 1} of {count + 1}"
            with self._progress.waiting(name):
                loads.append(loader.load(cold=number == 0))
                loader.unload()
        return loads

    def _used_s(self) -> float:
        return time.perf_counter() - self._started

    def _report(self, at: Heard) -> None:
        left = "" if at.remaining_s is None else f", about {self._left(at.remaining_s)} left"
        step = f" {at.done + 1} of {at.total}" if at.total else ""
        self._progress.tick(f"measuring {self._subject.name}: {at.stage}{step}{left}")

    def _left(self, remaining_s: float) -> str:
        """Return how long it still takes, in whole seconds: no more than the time that there is."""
        deadline = self._deadline
        if deadline is not None:
            remaining_s = min(remaining_s, max(0.0, deadline - time.perf_counter()))
        whole = max(1, round(remaining_s))
        return f"{whole} s" if whole < 60 else duration(whole)

    def _measure(self, memory: RunnerMemory) -> Measurement:
        subject, wanted = self._subject, self._wanted
        left_s = wanted.budget_s - self._used_s() if subject.time_budget_s else wanted.budget_s
        workload = prepare(
            self._server,
            subject.name,
            options=subject.options,
            effort=wanted,
            budget_s=max(1.0, left_s),
            like=subject.like,
            deadline=self._deadline,
            report=self._report,
        )
        deadline = self._deadline
        if deadline is None:
            deadline = time.perf_counter() + _patience_s(wanted, workload)
        found = measure(
            self._server,
            subject.name,
            options=subject.options,
            plan=workload,
            report=self._report,
            noise=self._noise,
            states=memory.states,
            deadline=deadline,
        )
        if found.fill_failure:
            self._failed_at = ("context filled", found.fill_failure)
        return found

    def _several(self, measured: Measurement) -> Sweep:
        """Let several users at it, with requests of the main shape."""
        subject, wanted, plan = self._subject, self._wanted, measured.plan
        if self._failed_at or not wanted.users:
            return Sweep(levels=(), left_out=())
        each_s = max([s.wall_s for s in measured.accepted], default=plan.request_s)
        parallel = subject.estimate.load.run.parallel
        deadline = self._by(_USERS_SHARE, given=subject.users is not None)
        # Long enough for who waits for a slot, too; but every level is to have its turn.
        queue = max([1.0, *(users / parallel for users in wanted.users)])
        left_s = math.inf if deadline is None else deadline - time.perf_counter()
        window_s = min(_WINDOW_REQUESTS * each_s * queue, left_s / len(wanted.users) - 2 * each_s)
        target = Target(server=self._server, model=subject.name, options=subject.options)
        try:
            return sweep(
                target,
                Prompts(plan.calibration, measured.seed + 1).draw,
                wanted.users,
                prompt_tokens=plan.prompt_tokens,
                tokens=plan.generate_tokens,
                window_s=max(_SHORTEST_WINDOW_S, window_s),
                parallel=parallel,
                seed=measured.seed,
                deadline=deadline,
                noise=self._noise,
                report=self._report,
            )
        except ServerRefused as e:  # what was measured until now is not lost by it
            self._failed_at = ("several users at once", e.what)
            return Sweep(levels=(), left_out=())

    def _chats(self) -> Thinking | None:
        subject, wanted = self._subject, self._wanted
        if self._failed_at or not wanted.chats:
            return None
        try:
            found = think(
                self._server,
                subject.name,
                subject.options,
                samples=wanted.chats,
                rng=random.Random(),  # noqa: S311 - prompts, no secret
                max_tokens=min(_CHAT_TOKENS, subject.estimate.load.run.context // 2),
                deadline=self._by(_CHATS_SHARE),
                report=self._report,
            )
        except ServerRefused as e:
            self._failed_at = ("chat", e.what)
            return None
        if found is None or found.samples:
            return found
        self._left_out.append(f"{wanted.chats} chats: the time was up")
        return None

    def _by(self, share: float, *, given: bool = False) -> float | None:
        """Return when a part must have ended that may take a share of the budget.

        `given`: somebody asked for it by name, so only the whole budget bounds it.
        """
        if given:
            return self._deadline
        own = time.perf_counter() + share * self._wanted.budget_s
        return own if self._deadline is None else min(own, self._deadline)


def _patience_s(wanted: Effort, workload: Workload) -> float:
    """Return for how long the samples may be waited for, where nobody set a bound."""
    least_s, most_s = _PATIENCE_S
    wanted_s = max(_PATIENCE * wanted.budget_s, _PATIENCE_REQUESTS * workload.request_s, least_s)
    return min(wanted_s, max(most_s, _LONG_PATIENCE * wanted.budget_s))
