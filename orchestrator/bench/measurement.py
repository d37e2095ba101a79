"""What a run of samples amounts to: which count, whether the box was quiet, the medians."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.bench.comparison import QUIET_SHARE
from orchestrator.bench.noise import Noise
from orchestrator.bench.sample import REJECTED, Sample, clocks_disagree
from orchestrator.bench.stats import Summary, summarize
from orchestrator.bench.workload import Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """All samples of one run, graded. `stopped` is "complete", "deadline" or "rejected" (too many
    samples did not count). `seed` and the calibration give every prompt again. `fill` is the
    request that filled the context; None: none did, and `fill_failure` says if one failed.
    """

    plan: Workload
    seed: int
    samples: tuple[Sample, ...]
    noise: Noise
    stopped: str
    wall_s: float
    fill: Sample | None = None
    fill_failure: str | None = None

    @property
    def accepted(self) -> tuple[Sample, ...]:
        """The samples of the main shape that count, noisy ones among them."""
        return self._counting(self.plan.main.shape)

    @property
    def noisy(self) -> bool:
        """Less than 60 % of what counts was taken on a quiet box: no verdict about speed."""
        return sum(not s.noisy for s in self.accepted) < QUIET_SHARE * len(self.accepted)

    @property
    def rejected(self) -> dict[str, int]:
        """How many samples do not count, by reason."""
        return {o: sum(s.outcome == o for s in self.samples) for o in REJECTED}

    @property
    def clocks_disagree(self) -> bool:
        """The server's decode rate differs from what arrived here by more than 3 %."""
        return clocks_disagree(self.samples)

    @property
    def longest_prompt_tokens(self) -> int:
        """The most tokens that a prompt had, or was meant to have."""
        counts = [s.prompt_tokens or 0 for s in self._all]
        return max([self.plan.prompt_tokens, *counts])

    @property
    def filled_tokens(self) -> int:
        """The most tokens that one slot held: a prompt and its answer."""
        return max(((s.prompt_tokens or 0) + (s.tokens or 0) for s in self._all), default=0)

    @property
    def _all(self) -> tuple[Sample, ...]:
        return (*self.samples, self.fill) if self.fill else self.samples

    def metrics(self) -> dict[str, Summary | None]:
        """Return decode_tps, prefill_tps and ttft_s of the main shape; None: no sample counts."""
        return self._of(self.plan.main.shape)

    def cells(self) -> list[dict[str, Any]]:
        """Return the same of every shape, by rising prompt, as the bench document has them."""
        return [
            {
                "prompt_tokens": cell.prompt_tokens,
                "generate_tokens": cell.generate_tokens,
                **{name: m and m.to_json() for name, m in self._of(cell.shape).items()},
            }
            for cell in sorted(self.plan.cells, key=lambda c: c.shape)
        ]

    def _counting(self, shape: tuple[int, int]) -> tuple[Sample, ...]:
        return tuple(s for s in self.samples if s.outcome == "ok" and s.shape == shape)

    def _of(self, shape: tuple[int, int]) -> dict[str, Summary | None]:
        """Summarize the quiet samples of a shape, or all where too few are quiet."""
        counting = self._counting(shape)
        quiet = [s for s in counting if not s.noisy]
        used = quiet if len(quiet) >= QUIET_SHARE * len(counting) else counting
        taken = [s for s in self.samples if s.shape == shape]
        rejected = sum(s.outcome in REJECTED for s in taken)
        return {
            "decode_tps": _summary(used, lambda s: s.decode_tps, "tokens/s", rejected),
            "prefill_tps": _summary(used, lambda s: s.prefill_tps, "tokens/s", rejected),
            "ttft_s": _summary(used, lambda s: s.ttft_s, "s", rejected),
        }


def _summary(
    used: Sequence[Sample], of: Callable[[Sample], float | None], unit: str, rejected: int
) -> Summary | None:
    rounds: dict[int, list[float]] = {}
    for s in used:
        if (value := of(s)) is not None:
            rounds.setdefault(s.round, []).append(value)
    return summarize(rounds.values(), unit=unit, rejected=rejected)
