"""One timed generation, and the rules by which it counts or is rejected."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from orchestrator.bench.device_state import DeviceState, disturbed
from orchestrator.bench.noise import Noise

Outcome = Literal["ok", "warmup", "cached", "miscounted", "short", "retried"]
REJECTED: tuple[Outcome, ...] = ("cached", "short", "miscounted")

_CACHED_FACTOR = 3.0
# Beside a compiler decode fell to a 27th; a prompt of 200 tokens in the cache was 300 times faster.
_BEYOND_CONTENTION = 30.0
_CLOCK_GAP = 0.03
_ENOUGH = 3  # of fewer samples of a shape one hit would be half


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What one request gave; durations in seconds, None where the server or the box would not say.

    `round` numbers the rounds from 0, `attempt` the prompts tried in it. `prompt` is the number of
    the prompt in the sequence of the measurement's seed. `reason` is "" when the stream ended
    without a result. `ttft_s` and `stream_s` (first to last chunk) are by our clock, `prefill_s`,
    `decode_s` and `load_s` by the server's. `foreign_cpu` and `steal` are shares of all processors.
    """

    round: int
    attempt: int
    prompt: int
    warmup: bool = False
    started_s: float
    wall_s: float
    want_prompt_tokens: int
    want_tokens: int
    prompt_tokens: int | None
    tokens: int | None
    reason: str
    prefill_s: float | None
    decode_s: float | None
    load_s: float | None
    ttft_s: float | None
    stream_s: float | None
    chunks: int
    foreign_cpu: float | None = None
    steal: float | None = None
    devices: tuple[DeviceState, ...] = ()
    outcome: Outcome = "ok"

    @property
    def shape(self) -> tuple[int, int]:
        """Prompt and generated tokens, as wanted."""
        return self.want_prompt_tokens, self.want_tokens

    @property
    def complete(self) -> bool:
        """The server generated all the tokens that were asked for."""
        return self.reason == "length" and self.tokens == self.want_tokens

    @property
    def noisy(self) -> bool:
        """Something else took the processors or a device, or slowed a device down."""
        noise = Noise(foreign_cpu=self.foreign_cpu, steal=self.steal)
        return noise.disturbing or disturbed(self.devices)

    @property
    def prefill_tps(self) -> float | None:
        """Prompt tokens a second of the server's prefill time."""
        return _rate(self.prompt_tokens, self.prefill_s)

    @property
    def decode_tps(self) -> float | None:
        """Tokens a second after the first, which prefill brings forth: (n - 1) / duration."""
        return _rate(self.tokens and self.tokens - 1, self.decode_s)

    @property
    def client_decode_tps(self) -> float | None:
        """The same by our clock, from the first chunk to the last."""
        return _rate(self.tokens and self.tokens - 1, self.stream_s)

    @property
    def clock_gap(self) -> float | None:
        """(client - server) / server decode rate; above 3 % one of the two is not to be trusted."""
        server, client = self.decode_tps, self.client_decode_tps
        return None if server is None or client is None else (client - server) / server

    def to_json(self) -> dict[str, Any]:
        """Return the raw sample with the rates that follow from it."""
        return {
            **asdict(self),
            "noisy": self.noisy,
            "prefill_tps": self.prefill_tps,
            "decode_tps": self.decode_tps,
            "client_decode_tps": self.client_decode_tps,
        }


def _rate(count: int | None, seconds: float | None) -> float | None:
    return count / seconds if count and seconds else None


def grade(samples: Sequence[Sample], *, exact: bool, num_ctx: int) -> tuple[Sample, ...]:
    """Return the samples with their outcomes. `exact`: prompts must have the length asked for.

    Judged together and at the end: whether a prompt came out of the server's cache shows only
    beside the others.
    """
    limits = _cached_above_tps(samples)
    return tuple(replace(s, outcome=_outcome(s, limits[s.shape], exact, num_ctx)) for s in samples)


def _cached_above_tps(samples: Sequence[Sample]) -> dict[tuple[int, int], float]:
    """Return for each shape the prefill rate above which a prompt must have come out of the
    server's cache.

    Three times the rate of the longest prompts: short ones are slower a token, being mostly
    overhead. Where attention to a deep cache makes long ones slower, the shape's own rate counts.
    """
    longest = max((s.prompt_tokens or 0 for s in samples), default=0)
    known = _limit([s for s in samples if s.prompt_tokens == longest])
    shapes = {s.shape for s in samples}
    own = {shape: [s for s in samples if s.shape == shape] for shape in shapes}
    alone = len(shapes) == 1
    return {
        shape: known if alone or len(of) < _ENOUGH else max(known, _limit(of))
        for shape, of in own.items()
    }


def _limit(samples: Sequence[Sample]) -> float:
    """Return the limit that samples of one length set.

    All prompts are new to the server, so most of the rates are true; of an even number the upper
    middle counts, for if a bad spell slowed half of them, the sound half is not cached. Where that
    would let a hit vouch for itself (one of two), no spell explains its distance.
    """
    rates = [r for s in samples if (r := s.prefill_tps) is not None]
    if not rates:
        return float("inf")
    return min(
        _CACHED_FACTOR * statistics.median_high(rates),
        _BEYOND_CONTENTION * statistics.median_low(rates),
    )


def _outcome(s: Sample, cached_above_tps: float, exact: bool, num_ctx: int) -> Outcome:  # noqa: FBT001
    if s.warmup:
        return "warmup"
    if not s.complete:
        return "retried" if s.outcome == "retried" else "short"
    if s.prompt_tokens is None:
        return "cached"  # old servers leave the count away when nothing was evaluated
    cut = s.prompt_tokens + s.want_tokens > num_ctx
    if cut or (exact and s.prompt_tokens != s.want_prompt_tokens):
        return "miscounted"
    return "cached" if (s.prefill_tps or 0.0) > cached_above_tps else "ok"


def clocks_disagree(samples: Sequence[Sample]) -> bool:
    """The server's and our clock differ by more than 3 % over the samples that count."""
    gaps = [g for s in samples if s.outcome == "ok" and (g := s.clock_gap) is not None]
    return bool(gaps) and abs(statistics.median(gaps)) > _CLOCK_GAP
