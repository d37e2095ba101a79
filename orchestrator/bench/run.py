"""The schedule: calibrate, warm up, take samples until enough of them count or the time is up."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.bench.calibration import calibrate
from orchestrator.bench.noise import ForeignCpu, Noise, between
from orchestrator.bench.progress import Heartbeat, Report, silent
from orchestrator.bench.request import Stopwatch, Target
from orchestrator.bench.sample import REJECTED, Sample, clocks_disagree, grade
from orchestrator.bench.stats import Summary, summarize
from orchestrator.bench.workload import EFFORTS, Effort, Prompts, Workload

if TYPE_CHECKING:
    from orchestrator.server import Server

_MAX_ATTEMPTS = 3
_CLEAN_SHARE = 0.6
_PROBE_TOKENS = 4  # enough for a first idea of the decode rate
_CALIBRATION_SHARE = 0.5
_UNKNOWN_TPS = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """All samples of one run, graded. `stopped` is "complete", "deadline" or "rejected" (too many
    samples did not count). `seed` and the calibration give every prompt again.
    """

    plan: Workload
    seed: int
    samples: tuple[Sample, ...]
    noise: Noise
    stopped: str
    wall_s: float

    @property
    def accepted(self) -> tuple[Sample, ...]:
        """The samples that count, noisy ones among them."""
        return tuple(s for s in self.samples if s.outcome == "ok")

    @property
    def noisy(self) -> bool:
        """Less than 60 % of what counts was taken on a quiet box: no verdict about speed."""
        return sum(not s.noisy for s in self.accepted) < _CLEAN_SHARE * len(self.accepted)

    @property
    def rejected(self) -> dict[str, int]:
        """How many samples do not count, by reason."""
        return {o: sum(s.outcome == o for s in self.samples) for o in REJECTED}

    @property
    def clocks_disagree(self) -> bool:
        """The server's decode rate differs from what arrived here by more than 3 %."""
        return clocks_disagree(self.samples)

    def metrics(self) -> dict[str, Summary | None]:
        """Return decode_tps, prefill_tps and ttft_s; None where no sample counts.

        Over the quiet samples, or over all where too few are quiet; then `noisy` is True.
        """
        used = self.accepted if self.noisy else [s for s in self.accepted if not s.noisy]
        return {
            "decode_tps": self._summary(used, lambda s: s.decode_tps, "tokens/s"),
            "prefill_tps": self._summary(used, lambda s: s.prefill_tps, "tokens/s"),
            "ttft_s": self._summary(used, lambda s: s.ttft_s, "s"),
        }

    def _summary(
        self,
        used: Sequence[Sample],
        of: Callable[[Sample], float | None],
        unit: str,
    ) -> Summary | None:
        rounds: dict[int, list[float]] = {}
        for s in used:
            if (value := of(s)) is not None:
                rounds.setdefault(s.round, []).append(value)
        return summarize(rounds.values(), unit=unit, rejected=sum(self.rejected.values()))


class _Pilot:
    """Counts tokens through the server, and learns on the way how fast it is."""

    def __init__(self, watch: Stopwatch, beat: Heartbeat) -> None:
        self._watch = watch
        self._beat = beat
        self._seen: list[Sample] = []

    def __call__(self, text: str) -> int | None:
        self._beat.at("calibration", len(self._seen), max(2, len(self._seen) + 1))
        sample = self._watch.time(text, tokens=_PROBE_TOKENS, prompt_tokens=0)
        if sample is None:
            return None
        self._seen.append(sample)
        return sample.prompt_tokens

    @property
    def prefill_tps(self) -> float:
        longest = max((s.prompt_tokens or 0 for s in self._seen), default=0)
        rates = [r for s in self._seen if s.prompt_tokens == longest and (r := s.prefill_tps)]
        return min(rates, default=_UNKNOWN_TPS)

    @property
    def decode_tps(self) -> float:
        rates = [r for s in self._seen if (s.tokens or 0) > 2 and (r := s.decode_tps)]
        return min(rates, default=min(_UNKNOWN_TPS, self.prefill_tps))


def prepare(
    server: "Server",
    model: str,
    *,
    options: Mapping[str, object],
    effort: Effort = EFFORTS["validate"],
    budget_s: float | None = None,
    rng: random.Random | None = None,
    clock: Callable[[], float] = time.perf_counter,
    report: Report = silent,
) -> Workload:
    """Return the workload for a model: calibrated on it, sized by how fast it answered.

    Loads the model if it is not loaded; a vocabulary is searched for at most half of the budget.
    Raises InvalidInput: no num_ctx among the options, or one too small. ServerRefused and others.
    """
    rng = rng or random.Random()  # noqa: S311 - prompts, no secret
    target = Target(server=server, model=model, options=options)
    budget = effort.budget_s if budget_s is None else budget_s
    started = clock()
    watch = Stopwatch(target=target, clock=clock, started=started, seed=rng.getrandbits(31))
    with Heartbeat(report, clock) as beat:
        pilot = _Pilot(watch, beat)
        calibration = calibrate(
            pilot, rng, may_go_on=lambda: clock() - started < _CALIBRATION_SHARE * budget
        )
    return Workload.sized(
        prefill_tps=pilot.prefill_tps,
        decode_tps=pilot.decode_tps,
        num_ctx=target.num_ctx,
        calibration=calibration,
        effort=effort,
        budget_s=budget_s,
    )


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
) -> Measurement:
    """Return the measurement of a model by `plan`. `deadline` is on `clock`; at it, what was taken
    so far is the result, even if that is nothing.

    Raises InvalidInput: the plan does not fit num_ctx. ServerRefused, OutOfMemory, Unreachable.
    """
    target = Target(server=server, model=model, options=options)
    plan.check(target.num_ctx)
    noise = noise or ForeignCpu(None)
    started, before = clock(), noise.read()
    seed = (rng or random.Random()).getrandbits(31)  # noqa: S311 - prompts, no secret
    watch = Stopwatch(
        target=target, clock=clock, started=started, seed=seed, deadline=deadline, noise=noise
    )
    with Heartbeat(report, clock) as beat:
        schedule = _Schedule(plan, watch, Prompts(plan.calibration, seed), beat)
        stopped = schedule.run()
    return Measurement(
        plan=plan,
        seed=seed,
        samples=schedule.graded(),
        noise=between(before, noise.read()),
        stopped=stopped,
        wall_s=clock() - started,
    )


class _DeadlineReached(Exception):
    """No time for another request."""


class _Schedule:
    """Warm-ups, then rounds of one sample each, with up to three prompts a round."""

    def __init__(self, plan: Workload, watch: Stopwatch, prompts: Prompts, beat: Heartbeat) -> None:
        self._plan = plan
        self._watch = watch
        self._prompts = prompts
        self._beat = beat
        self._taken: list[Sample] = []
        self._drawn = 0

    def run(self) -> str:
        """Take the samples and return why it ended."""
        try:
            for _ in range(self._plan.warmups):
                self._take("warm-up", round_=-1, attempt=0)
            for round_ in range(self._plan.samples + self._plan.reruns):
                self._round(round_)
                if self._enough():
                    return "complete"
        except _DeadlineReached:
            return "deadline"
        return "rejected" if self._counting() < self._plan.samples else "complete"

    def graded(self) -> tuple[Sample, ...]:
        """Return everything taken so far with its outcome."""
        return grade(
            self._taken,
            exact=self._plan.calibration.exact,
            num_ctx=self._watch.target.num_ctx,
        )

    def _enough(self) -> bool:
        # With reruns to spend, noisy samples are taken again; without, they are kept and marked.
        return self._counting(quiet=self._plan.reruns > 0) >= self._plan.samples

    def _counting(self, *, quiet: bool = False) -> int:
        return sum(s.outcome == "ok" and not (quiet and s.noisy) for s in self.graded())

    def _round(self, round_: int) -> None:
        for attempt in range(_MAX_ATTEMPTS):
            self._take("samples", round_=round_, attempt=attempt)
            if self._taken[-1].complete:
                return
            if attempt < _MAX_ATTEMPTS - 1:
                self._taken[-1] = replace(self._taken[-1], outcome="retried")

    def _take(self, stage: str, *, round_: int, attempt: int) -> None:
        plan, each = self._plan, self._each_s()
        if self._watch.left_s() < each:
            raise _DeadlineReached
        done = min(self._counting(), plan.samples)
        self._beat.at(stage, done, plan.samples, each)
        sample = self._watch.time(
            self._prompts.draw(plan.prompt_tokens),
            tokens=plan.generate_tokens,
            prompt_tokens=plan.prompt_tokens,
            number=self._drawn,
            round_=round_,
            attempt=attempt,
            warmup=round_ < 0,
        )
        self._drawn += 1
        if sample is None:
            raise _DeadlineReached
        self._taken.append(sample)

    def _each_s(self) -> float:
        """Return how long a request takes: as seen, or as the plan expects."""
        seen = [s.wall_s for s in self._taken if s.complete]
        return max(seen) if seen else self._plan.request_s
