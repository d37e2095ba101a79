"""Before the measurement: the model's tokens are counted, and how fast it answers is learnt."""

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.bench.calibration import calibrate
from orchestrator.bench.effort import EFFORTS, Effort
from orchestrator.bench.progress import Heartbeat, Report, silent
from orchestrator.bench.request import Stopwatch, Target
from orchestrator.bench.sample import Sample
from orchestrator.bench.sizing import sized
from orchestrator.bench.workload import Workload

if TYPE_CHECKING:
    from orchestrator.server import Server

_PROBE_TOKENS = 4  # enough for a first idea of the decode rate
_CALIBRATION_SHARE = 0.5
_UNKNOWN_TPS = 4.0


def prepare(  # noqa: PLR0913 - what it must not read from the world by itself
    server: "Server",
    model: str,
    *,
    options: Mapping[str, object],
    effort: Effort = EFFORTS["validate"],
    budget_s: float | None = None,
    like: tuple[int, int] | None = None,
    deadline: float | None = None,
    rng: random.Random | None = None,
    clock: Callable[[], float] = time.perf_counter,
    report: Report = silent,
) -> Workload:
    """Return the workload for a model: calibrated on it, sized by how fast it answered.

    Loads the model if it is not loaded; a vocabulary is searched for at most half of the budget.
    `like` is the main shape of the runs that this one is to be compared with. At `deadline`, on
    `clock`, it goes by what it has learnt until then.
    Raises InvalidInput: no num_ctx among the options, or one too small. ServerRefused and others.
    """
    rng = rng or random.Random()  # noqa: S311 - prompts, no secret
    target = Target(server=server, model=model, options=options)
    budget = effort.budget_s if budget_s is None else budget_s
    started = clock()
    seed = rng.getrandbits(31)
    watch = Stopwatch(target=target, clock=clock, started=started, seed=seed, deadline=deadline)
    with Heartbeat(report, clock) as beat:
        pilot = _Pilot(watch, beat)
        calibration = calibrate(
            pilot, rng, may_go_on=lambda: clock() - started < _CALIBRATION_SHARE * budget
        )
    return sized(
        prefill_tps=pilot.prefill_tps,
        decode_tps=pilot.decode_tps,
        num_ctx=target.num_ctx,
        calibration=calibration,
        effort=effort,
        budget_s=budget_s,
        like=like,
    )


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
