"""The schedule: warm up, take rounds of samples until enough count or the time is up; fill up."""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.bench.device_state import DeviceState
from orchestrator.bench.measurement import Measurement
from orchestrator.bench.noise import ForeignCpu, Span, between
from orchestrator.bench.progress import Heartbeat, Report, silent
from orchestrator.bench.request import Stopwatch, Target
from orchestrator.bench.sample import Sample, grade
from orchestrator.bench.workload import DEEP_FACTOR, Cell, Prompts, Workload
from orchestrator.errors import ServerRefused
from orchestrator.units import duration

if TYPE_CHECKING:
    from orchestrator.server import Server

_MAX_ATTEMPTS = 3
_WARM_UP = -1


def measure(  # noqa: PLR0913 - what it must not read from the world by itself
    server: "Server",
    model: str,
    *,
    options: Mapping[str, object],
    plan: Workload,
    clock: Callable[[], float] = time.perf_counter,
    rng: random.Random | None = None,
    report: Report = silent,
    deadline: float | None = None,
    noise: ForeignCpu | None = None,
    states: Callable[[], tuple[DeviceState, ...]] = tuple,
) -> Measurement:
    """Return the measurement of a model by `plan`. `deadline` is on `clock`; at it, what was taken
    so far is the result, even if that is nothing. `states` reads the devices.

    Raises InvalidInput: the plan does not fit num_ctx. ServerRefused, OutOfMemory, Unreachable.
    """
    target = Target(server=server, model=model, options=options)
    plan.check(target.num_ctx)
    noise = noise or ForeignCpu(None)
    started, before = clock(), noise.read()
    rng = rng or random.Random()  # noqa: S311 - prompts, no secret
    seed = rng.getrandbits(31)
    watch = Stopwatch(
        target=target,
        clock=clock,
        started=started,
        seed=seed,
        deadline=deadline,
        noise=Span(noise),
        states=states,
    )
    with Heartbeat(report, clock) as beat:
        schedule = _Schedule(plan, watch, Prompts(plan.calibration, seed), beat)
        stopped = schedule.run()
        heard = between(before, noise.read())
        fill, failure = None, None
        unfilled: tuple[str, ...] = ()
        try:
            fill, unfilled = schedule.fill()
        except ServerRefused as e:  # the samples are there, and this is worth as much to know
            failure = e.what
    return Measurement(
        plan=replace(plan, left_out=(*plan.left_out, *unfilled)),
        seed=seed,
        samples=schedule.graded(),
        noise=heard,
        stopped=stopped,
        wall_s=clock() - started,
        fill=fill,
        fill_failure=failure,
    )


class _DeadlineReached(Exception):
    """No time for another request."""


class _Schedule:
    """Warm-ups, then rounds of one sample a shape in random order, up to three prompts each."""

    def __init__(self, plan: Workload, watch: Stopwatch, prompts: Prompts, beat: Heartbeat) -> None:
        self._plan = plan
        self._watch = watch
        self._prompts = prompts
        self._beat = beat
        self._rng = random.Random(watch.seed)  # noqa: S311 - the order of a round, no secret
        self._taken: list[Sample] = []
        self._drawn = 0

    def run(self) -> str:
        """Take the samples and return why it ended."""
        plan = self._plan
        try:
            for _ in range(plan.warmups):
                self._round(list(plan.cells), _WARM_UP)
            for round_ in range(plan.samples + plan.reruns):
                if not (due := self._due(round_)):
                    return "complete"
                self._round(due, round_)
        except _DeadlineReached:
            return "deadline"
        return "rejected" if self._counting(plan.main) < plan.samples else "complete"

    def fill(self) -> tuple[Sample | None, tuple[str, ...]]:
        """Fill the context with one prompt; else say why not, where it was planned."""
        cell = self._plan.fill
        if cell is None:
            return None, ()
        wanted_s = self._fill_s(cell)
        if wanted_s > min(self._plan.fill_limit_s, self._watch.left_s()):
            return None, (f"filling the context: about {duration(wanted_s)}, too much of the time",)
        self._beat.at("filling the context", 0, 1, wanted_s)
        found = self._request(cell, _WARM_UP, 0)
        if found is None or not found.prompt_tokens:
            return None, ("filling the context: it was not done in time",)
        return found, ()

    def _fill_s(self, cell: Cell) -> float:
        """Return how long filling takes, by the longest prompts so far, else as planned."""
        seen = [s for s in self._taken if s.complete and s.prefill_tps and s.ttft_s]
        if not seen:
            return cell.request_s
        longest = max(s.prompt_tokens or 0 for s in seen)
        rate = statistics.median(s.prefill_tps or 0 for s in seen if s.prompt_tokens == longest)
        return DEEP_FACTOR * cell.prompt_tokens / rate

    def graded(self) -> tuple[Sample, ...]:
        """Return everything taken so far with its outcome."""
        return grade(
            self._taken,
            exact=self._plan.calibration.exact,
            num_ctx=self._watch.target.num_ctx,
        )

    def _due(self, round_: int) -> list[Cell]:
        """Return the shapes that a round still has to take; the main one lacks none: no more."""
        lacking = [c for c in self._plan.cells if self._lacks(c)]
        first = round_ < self._plan.samples
        return [c for c in lacking if c == self._plan.main or (first and self._in_time(c))]

    def _lacks(self, cell: Cell) -> bool:
        # With reruns to spend, noisy samples are taken again; without, they are kept and marked.
        return self._counting(cell, quiet=self._plan.reruns > 0) < cell.samples

    def _in_time(self, cell: Cell) -> bool:
        """Whether there is time for one more beside one of the main shape, which finds out when it
        is its turn.
        """
        main = self._plan.main
        both_s = self._each_s(cell) + self._each_s(main)
        return cell == main or self._watch.left_s() >= both_s

    def _counting(self, cell: Cell, *, quiet: bool = False) -> int:
        return sum(
            s.outcome == "ok" and s.shape == cell.shape and not (quiet and s.noisy)
            for s in self.graded()
        )

    def _round(self, cells: list[Cell], round_: int) -> None:
        for cell in self._rng.sample(cells, len(cells)):
            if self._in_time(cell):
                self._sample(cell, round_)

    def _sample(self, cell: Cell, round_: int) -> None:
        attempts = 1 if round_ == _WARM_UP else _MAX_ATTEMPTS
        for attempt in range(attempts):
            self._take(cell, round_, attempt)
            if self._taken[-1].complete:
                return
            if attempt < attempts - 1:
                self._taken[-1] = replace(self._taken[-1], outcome="retried")

    def _take(self, cell: Cell, round_: int, attempt: int) -> None:
        each = self._each_s(cell)
        if self._watch.left_s() < each:
            raise _DeadlineReached
        self._say(cell, round_, each)
        sample = self._request(cell, round_, attempt)
        if sample is None:
            raise _DeadlineReached
        self._taken.append(sample)

    def _request(self, cell: Cell, round_: int, attempt: int) -> Sample | None:
        self._drawn += 1
        return self._watch.time(
            self._prompts.draw(cell.prompt_tokens),
            tokens=cell.generate_tokens,
            prompt_tokens=cell.prompt_tokens,
            number=self._drawn - 1,
            round_=round_,
            attempt=attempt,
            warmup=round_ == _WARM_UP,
        )

    def _say(self, cell: Cell, round_: int, each_s: float) -> None:
        again = round_ - self._plan.samples
        if again >= 0:
            self._beat.at("samples again, for noise", again, self._plan.reruns, each_s)
            return
        done, total, after_s = self._progress(cell)
        stage = "warm-up" if round_ == _WARM_UP else "samples"
        self._beat.at(stage, done, total, each_s, after_s=after_s)

    def _progress(self, cell: Cell) -> tuple[int, int, float]:
        """Return samples done and planned, and the seconds of all that comes after this shape's."""
        done = [min(self._counting(c), c.samples) for c in self._plan.cells]
        others = sum(
            (c.samples - d) * self._each_s(c)
            for c, d in zip(self._plan.cells, done, strict=True)
            if c != cell
        )
        own = done[self._plan.cells.index(cell)]
        beside = sum(done) - own
        return sum(done), beside + cell.samples, others + self._plan.fill_s

    def _each_s(self, cell: Cell) -> float:
        """Return how long a request takes: as seen, or as the plan expects."""
        seen = [s.wall_s for s in self._taken if s.complete and s.shape == cell.shape]
        return max(seen) if seen else cell.request_s
