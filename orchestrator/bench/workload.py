"""What is measured with: prompts of an exact number of tokens, no two alike, and how many of them.

A server keeps the KV cache of earlier prompts and answers a prompt that it has seen 300 times
faster, while it still counts all its tokens. So every prompt starts with another token.
"""

import math
import random
from dataclasses import dataclass, replace
from typing import Self

from orchestrator.bench.calibration import Calibration
from orchestrator.errors import InvalidInput

# Prompts of a tokenizer that could not be calibrated may come out longer than asked for.
_INEXACT_MARGIN = 1.25
DEEP_FACTOR = 2.0
"""Prefill slows down with what is in the cache already: by so much on a CPU at 8,000 tokens."""


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
class Cell:
    """One shape of request and how many samples of it are wanted."""

    prompt_tokens: int
    generate_tokens: int
    samples: int
    request_s: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """Prompt and generated tokens."""
        return self.prompt_tokens, self.generate_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """The main shape of request, repeated: `warmups` discarded, then `samples` that should count.

    `beside` are other shapes, in the same rounds; `fill` is one request that fills the context, if
    it takes at most `fill_limit_s` by what was seen until then.
    `left_out` says what the budget or the context left no room for. `request_s` is how long one
    request of the main shape should take, in seconds.
    """

    prompt_tokens: int
    generate_tokens: int
    samples: int
    warmups: int = 1
    reruns: int = 0
    request_s: float = 0.0
    calibration: Calibration
    beside: tuple[Cell, ...] = ()
    fill: Cell | None = None
    fill_limit_s: float = math.inf
    left_out: tuple[str, ...] = ()

    @property
    def main(self) -> Cell:
        """The main shape."""
        return Cell(
            prompt_tokens=self.prompt_tokens,
            generate_tokens=self.generate_tokens,
            samples=self.samples,
            request_s=self.request_s,
        )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All shapes of the rounds, the main one first."""
        return (self.main, *self.beside)

    @property
    def expected_s(self) -> float:
        """Seconds that the samples of the main shape should take."""
        return self.request_s * (self.warmups + self.samples)

    @property
    def total_s(self) -> float:
        """Seconds that everything in this plan should take."""
        beside = sum(c.request_s * (self.warmups + c.samples) for c in self.beside)
        return self.expected_s + beside + self.fill_s

    @property
    def fill_s(self) -> float:
        """Seconds that filling the context should take; 0: it is not expected to be done."""
        wanted_s = self.fill.request_s if self.fill else 0.0
        return wanted_s if wanted_s <= self.fill_limit_s else 0.0

    def check(self, num_ctx: int) -> None:
        """Raise InvalidInput if a prompt and its answer do not fit in `num_ctx` tokens: the server
        would cut the prompt silently, and the numbers would belong to another one.
        """
        for cell in self.cells:
            if (needed := self.room(cell)) > num_ctx:
                raise InvalidInput(
                    f"a prompt of {cell.prompt_tokens} and {cell.generate_tokens} generated tokens"
                    f" do not fit in a context of {num_ctx}",
                    hint=f"measure with a context of at least {needed}",
                )

    @property
    def margin(self) -> float:
        """How much longer than asked for a prompt may come out."""
        return 1.0 if self.calibration.exact else _INEXACT_MARGIN

    def room(self, cell: Cell) -> int:
        """Return the tokens of context that a shape needs."""
        return int(cell.prompt_tokens * self.margin) + cell.generate_tokens

    def repeated(self, samples: int) -> Self:
        """Return the same shape with another number of samples."""
        return replace(self, samples=samples)
