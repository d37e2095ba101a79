"""What a streaming answer of the server is made of."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ollama

_NANO = 1e-9


def seconds(nanoseconds: int | None) -> float | None:
    """Return one of the server's durations in seconds; None: an old version does not tell it."""
    return None if nanoseconds is None else nanoseconds * _NANO


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """The last object of a stream: counts and durations by the server's clock, None where absent.

    `prompt_eval_count` counts cached tokens too; `eval_s` starts at the first generated token.
    """

    reason: str
    prompt_eval_count: int | None
    prompt_eval_s: float | None
    eval_count: int | None
    eval_s: float | None
    load_s: float | None
    total_s: float | None

    @classmethod
    def of(cls, chunk: "ollama.GenerateResponse | ollama.ChatResponse") -> Self:
        """Read the last chunk of an answer."""
        return cls(
            reason=chunk.done_reason or "",
            prompt_eval_count=chunk.prompt_eval_count,
            prompt_eval_s=seconds(chunk.prompt_eval_duration),
            eval_count=chunk.eval_count,
            eval_s=seconds(chunk.eval_duration),
            load_s=seconds(chunk.load_duration),
            total_s=seconds(chunk.total_duration),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One chunk of a stream; `at_s` is time.perf_counter() when it arrived."""

    at_s: float
    text: str
    thinking: str
    done: Done | None

    @classmethod
    def arrived(
        cls,
        chunk: "ollama.GenerateResponse | ollama.ChatResponse",
        text: str | None,
        thinking: str | None,
    ) -> Self:
        """Return a chunk that comes in at this moment."""
        return cls(
            at_s=time.perf_counter(),
            text=text or "",
            thinking=thinking or "",
            done=Done.of(chunk) if chunk.done else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadTiming:
    """How long a load took: by our clock, and by the server's (None in old versions)."""

    wall_s: float
    load_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PullStep:
    """One event of a pull; sizes are None before the server knows them."""

    status: str
    digest: str | None
    total_bytes: int | None
    completed_bytes: int | None

    @property
    def downloads(self) -> bool:
        """Whether the server waits for bytes of the source now, rather than hashing its own."""
        return self.digest is not None or self.status == "pulling manifest"
