"""What is measured with: prompts of an exact number of tokens, no two alike, and how many of them.

A server keeps the KV cache of earlier prompts and answers a prompt that it has seen 300 times
faster, while it still counts all its tokens. So every prompt starts with another token.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from orchestrator.bench.calibration import Calibration
from orchestrator.errors import InvalidInput


class Prompts:
    """Prompts that no two are alike; the same calibration and seed give the same sequence."""

    def __init__(self, calibration: Calibration, seed: int) -> None:
        self._calibration = calibration
        self._rng = random.Random(seed)  # noqa: S311 - reproducible, no secret
        # In turn, not at random: a first token comes again only after all the others.
        self._firsts = self._rng.sample(calibration.words, len(calibration.words))
        self._sent: set[str] = set()

    def draw(self, n_tokens: int) -> str:
        """Return a prompt of `n_tokens` (BOS included) that was not drawn before.

        Raises InvalidInput: so short that the words allow no further one.
        """
        for _ in range(100):
            self._firsts.append(first := self._firsts.pop(0))
            text = self._calibration.prompt(n_tokens, self._rng, first=first)
            if text not in self._sent:
                self._sent.add(text)
                return text
        raise InvalidInput(f"no more unlike prompts of {n_tokens} tokens; use longer ones")


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much a measurement may take: `samples` wanted, seconds that the sizing aims at.

    `smallest` is the shortest (prompt, generated) shape, used even where it exceeds the budget.
    `reruns` is how many rounds may be added for noisy and rejected samples.
    """

    budget_s: float
    min_samples: int
    max_samples: int
    smallest: tuple[int, int]
    reruns: int = 0


EFFORTS: Mapping[str, Effort] = {
    # What `deploy auto` does after every load: below a minute even on two slow cores.
    "validate": Effort(budget_s=45, min_samples=3, max_samples=5, smallest=(32, 16)),
    "quick": Effort(budget_s=120, min_samples=5, max_samples=5, smallest=(64, 64), reruns=5),
    "default": Effort(budget_s=600, min_samples=10, max_samples=10, smallest=(64, 64), reruns=10),
}

# (prompt, generated) tokens, rising. 16 generated tokens are the fewest that give a rate at all:
# the first one belongs to prefill, and a rate over 15 intervals still resolves 1 %.
_SHAPES = ((32, 16), (32, 32), (64, 64), (128, 64), (256, 64), (512, 128))
_REQUEST_OVERHEAD_S = 0.05
# Prompts of a tokenizer that could not be calibrated may come out longer than asked for.
_INEXACT_MARGIN = 1.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One shape of request, repeated: `warmups` discarded, then `samples` that should count.

    `request_s` is how long one request should take, in seconds.
    """

    prompt_tokens: int
    generate_tokens: int
    samples: int
    warmups: int = 1
    reruns: int = 0
    request_s: float = 0.0
    calibration: Calibration

    @property
    def expected_s(self) -> float:
        """Seconds that the whole should take."""
        return self.request_s * (self.warmups + self.samples)

    def check(self, num_ctx: int) -> None:
        """Raise InvalidInput if prompt and answer do not fit in `num_ctx` tokens: the server
        would cut the prompt silently, and the numbers would belong to another one.
        """
        margin = 1.0 if self.calibration.exact else _INEXACT_MARGIN
        needed = int(self.prompt_tokens * margin) + self.generate_tokens
        if needed > num_ctx:
            raise InvalidInput(
                f"a prompt of {self.prompt_tokens} and {self.generate_tokens} generated tokens"
                f" do not fit in a context of {num_ctx}",
                hint=f"measure with a context of at least {needed}",
            )

    @classmethod
    def sized(
        cls,
        *,
        prefill_tps: float,
        decode_tps: float,
        num_ctx: int,
        calibration: Calibration,
        effort: Effort = EFFORTS["validate"],
        budget_s: float | None = None,
    ) -> Self:
        """Return the largest shape whose warm-up and fewest samples take at most the budget, with
        as many samples as the rest of it allows. Rates in tokens/s, as known before measuring.

        Raises InvalidInput: not even the smallest shape fits the context; a rate is not positive.
        """
        if min(prefill_tps, decode_tps) <= 0:
            raise InvalidInput(f"rates must be positive, not {prefill_tps} and {decode_tps}")
        budget = effort.budget_s if budget_s is None else budget_s
        plans = [
            cls(
                prompt_tokens=pp,
                generate_tokens=tg,
                samples=effort.min_samples,
                reruns=effort.reruns,
                request_s=pp / prefill_tps + tg / decode_tps + _REQUEST_OVERHEAD_S,
                calibration=calibration,
            )
            for pp, tg in _SHAPES
            if pp >= effort.smallest[0] and tg >= effort.smallest[1]
        ]
        best = _largest(plans, num_ctx, budget)
        best.check(num_ctx)
        affordable = int(budget / best.request_s) - best.warmups
        return best.repeated(max(effort.min_samples, min(effort.max_samples, affordable)))

    def repeated(self, samples: int) -> Self:
        """Return the same shape with another number of samples."""
        return replace(self, samples=samples)


_W = TypeVar("_W", bound=Workload)


def _largest(plans: Sequence[_W], num_ctx: int, budget_s: float) -> _W:
    """Return the last of rising plans that fits context and budget, else the first."""
    first, *larger = plans
    best = first
    for plan in larger:
        try:
            plan.check(num_ctx)
        except InvalidInput:
            break
        if plan.expected_s > budget_s:
            break
        best = plan
    return best
