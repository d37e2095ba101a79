"""What a streaming answer of the server is made of."""

from dataclasses import dataclass


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One chunk of a stream; `at_s` is time.perf_counter() when it arrived."""

    at_s: float
    text: str
    thinking: str
    done: Done | None


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
