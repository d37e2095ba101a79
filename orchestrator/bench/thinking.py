"""Chats of a model that thinks: when its first token comes, and when the first one of the answer.

Raw prompts tell nothing of that: what separates a thought from its answer is the template.
"""

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.bench.progress import Heartbeat, Report, silent
from orchestrator.bench.request import Target
from orchestrator.bench.stats import Summary, summarize
from orchestrator.errors import ServerUnreachable

if TYPE_CHECKING:
    from collections.abc import Generator

    from orchestrator.server import Piece, Server

CAPABILITY = "thinking"
_PATIENCE_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """One question and its answer. Seconds by our clock from sending it.

    `ttft_s` is to the first chunk of thought or answer, `first_answer_s` to the first of the
    answer; None: there was none within the tokens allowed. `tokens` is the server's count of both.
    """

    ttft_s: float | None
    first_answer_s: float | None
    tokens: int | None
    wall_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Thinking:
    """All chats of a run; `seed` gives every question again. No chats: the time was up."""

    max_tokens: int
    seed: int
    samples: tuple[Chat, ...]

    @property
    def ttft_s(self) -> Summary | None:
        """Seconds to the first token of any kind."""
        return self._summary([c.ttft_s for c in self.samples])

    @property
    def first_answer_s(self) -> Summary | None:
        """Seconds to the first token of the answer, over the chats that came to one.

        `rejected` counts the others: with any of those the true median lies higher.
        """
        return self._summary([c.first_answer_s for c in self.samples])

    def to_json(self) -> dict[str, Any]:
        """Return the chats as the bench document carries them."""
        ttft, answer = self.ttft_s, self.first_answer_s
        return {
            "ttft_s": ttft and ttft.to_json(),
            "first_answer_s": answer and answer.to_json(),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "samples": [asdict(c) for c in self.samples],
        }

    @staticmethod
    def _summary(values: list[float | None]) -> Summary | None:
        known = [[v] for v in values if v is not None]
        return summarize(known, unit="s", rejected=len(values) - len(known))


def think(  # noqa: PLR0913 - what it must not read from the world by itself
    server: "Server",
    model: str,
    options: Mapping[str, object],
    *,
    samples: int,
    max_tokens: int,
    rng: random.Random,
    deadline: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    report: Report = silent,
) -> Thinking | None:
    """Return `samples` chats, fewer if the deadline (on `clock`, as time.perf_counter() counts)
    comes first; None: the model does not think, or the server is too old to let it (before 0.9).

    A question goes before them that is not counted: it loads the model where it is not loaded.
    Raises InvalidInput: no num_ctx. ServerRefused, OutOfMemory, ServerUnreachable.
    """
    target = Target(server=server, model=model, options=options)
    shown = server.show(model)
    if shown is None or CAPABILITY not in (shown.capabilities or ()):
        return None
    seed = rng.getrandbits(31)
    limit = float("inf") if deadline is None else deadline
    chats = _Chats(target=target, seed=seed, limit=limit, clock=clock)
    asked = random.Random(seed)  # noqa: S311 - questions, no secret
    taken: list[Chat] = []
    with Heartbeat(report, clock) as beat:
        if clock() < limit:
            chats.ask(_question(asked), 1)
        while len(taken) < samples:
            longest = max((c.wall_s for c in taken), default=None)
            beat.at("thinking", len(taken), samples, longest)
            if clock() + (longest or 0.0) > limit:
                break
            if (chat := chats.ask(_question(asked), max_tokens)) is None:
                break
            taken.append(chat)
    return Thinking(max_tokens=max_tokens, seed=seed, samples=tuple(taken))


def _question(rng: random.Random) -> str:
    """Return a short question that hardly any other is like: an answer is not to be had from the
    server's cache.
    """
    return f"What is {rng.randrange(1000, 10_000)} + {rng.randrange(1000, 10_000)}?"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chats:
    """Asks questions of one model, each in a chat of its own."""

    target: Target
    seed: int
    limit: float
    clock: Callable[[], float]

    def ask(self, question: str, max_tokens: int) -> Chat | None:
        """Return the chat about a question; None: the time limit came first."""
        sent, seen = self.clock(), _Seen()
        try:
            with contextlib.closing(self._pieces(question, max_tokens)) as pieces:
                for piece in pieces:
                    seen.take(piece)
                    if not seen.ended and self.clock() > self.limit:
                        return None
        except ServerUnreachable:
            if self.clock() > self.limit:
                return None  # our own time limit, not the server's fault
            raise
        return seen.chat(sent, self.clock())

    def _pieces(self, question: str, max_tokens: int) -> "Generator[Piece, None, None]":
        target = self.target
        options = {"temperature": 0, "seed": self.seed, **target.options, "num_predict": max_tokens}
        yield from target.server.chat(
            target.model,
            question,
            options=options,
            think=True,
            timeout_s=min(_PATIENCE_S, max(1.0, self.limit - self.clock())),
        )


@dataclass(slots=True)
class _Seen:
    """What came of one answer."""

    first_s: float | None = None
    answer_s: float | None = None
    tokens: int | None = None
    ended: bool = False

    def take(self, piece: "Piece") -> None:
        if self.first_s is None and (piece.text or piece.thinking):
            self.first_s = piece.at_s
        # A line break between a thought and its answer is no answer, where a server lets it pass.
        if self.answer_s is None and piece.text.strip():
            self.answer_s = piece.at_s
        if piece.done is not None:
            self.ended, self.tokens = True, piece.done.eval_count

    def chat(self, sent: float, ended: float) -> Chat:
        return Chat(
            ttft_s=None if self.first_s is None else self.first_s - sent,
            first_answer_s=None if self.answer_s is None else self.answer_s - sent,
            tokens=self.tokens,
            wall_s=ended - sent,
        )
