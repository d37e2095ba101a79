"""What a number of users at once got: tokens over a window of time, never a sum of rates.

Rates of single requests leave out the time that they waited for a slot: added up, those of eight
users on four slots came to 2.8 times what the server delivered.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.bench.noise import Noise
from orchestrator.bench.stats import Summary, percentile, summarize

if TYPE_CHECKING:
    from orchestrator.server import Done, Piece

_ENOUGH_ROUNDS = 3


@dataclass(kw_only=True, slots=True)
class Request:
    """What a user saw of one request. Moments in seconds of our clock.

    `chunks_s` are the moments at which chunks with something in them arrived. `ended_s` None: it
    was cancelled, or failed.
    """

    sent_s: float
    chunks_s: list[float] = field(default_factory=list)
    done: "Done | None" = None
    ended_s: float | None = None

    def see(self, piece: "Piece") -> None:
        """Take note of a chunk."""
        if piece.text or piece.thinking:
            self.chunks_s.append(piece.at_s)
        if piece.done is not None:
            self.done, self.ended_s = piece.done, piece.at_s

    @property
    def first_s(self) -> float | None:
        """When its first token arrived."""
        return self.chunks_s[0] if self.chunks_s else None

    @property
    def ttft_s(self) -> float | None:
        """From sending to the first token, the wait for a slot included."""
        return None if self.first_s is None else self.first_s - self.sent_s

    @property
    def tokens(self) -> int | None:
        """The server's count; None: it did not come to its end."""
        return self.done.eval_count if self.done else None

    def decode_tps(self, tokens: int) -> float | None:
        """Return tokens a second after the first; None: it did not come to all its `tokens`."""
        done = self.done
        if done is None or done.eval_count != tokens or done.reason != "length" or not done.eval_s:
            return None
        return (tokens - 1) / done.eval_s

    @property
    def waited_s(self) -> float | None:
        """How long it waited for a slot: time to first token less the server's own load and prefill
        times, which begin with the slot; not below 0. None: the server does not tell those.
        """
        done, ttft_s = self.done, self.ttft_s
        if done is None or ttft_s is None or done.prompt_eval_s is None:
            return None
        return max(0.0, ttft_s - (done.load_s or 0.0) - done.prompt_eval_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The time in which every slot was busy; only what arrives in it counts."""

    opened_s: float
    closed_s: float

    @property
    def length_s(self) -> float:
        """Seconds from its opening to its end."""
        return self.closed_s - self.opened_s

    def holds(self, at_s: float | None) -> bool:
        """Say whether a moment lies in it."""
        return at_s is not None and self.opened_s <= at_s < self.closed_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One level of the sweep, in the words of the bench document.

    `queued`: more users than slots; None: the slots are not known. `tokens` arrived in the window,
    `requests` ended in it. `per_user_tps` is the decode rate of those that came to their full
    length, `ttft_s` is by our clock. `queue_share` is the part of the requests' whole time that
    they waited for a slot, over those whose first and last token arrived in the window (the very
    first ones found the slots empty); None where there are none.
    """

    users: int
    queued: bool | None
    window_s: float
    requests: int
    tokens: float
    aggregate_tps: float
    per_user_tps: Summary | None
    ttft_s: Summary | None
    ttft_p90_s: float | None
    queue_share: float | None
    noisy: bool

    def to_json(self) -> dict[str, Any]:
        """Return the level as the bench document carries it."""
        return asdict(self)


def level(
    requests: Sequence[Request],
    *,
    users: int,
    parallel: int | None,
    window: Window,
    tokens: int,
    noise: Noise,
) -> Level:
    """Return what `users` got in a window, out of all that they asked for `tokens` tokens each."""
    ended = sorted((r for r in requests if window.holds(r.ended_s)), key=lambda r: r.ended_s or 0)
    begun = sorted((r for r in requests if window.holds(r.first_s)), key=lambda r: r.first_s or 0)
    rates = [rate for r in ended if (rate := r.decode_tps(tokens)) is not None]
    ttfts = [ttft_s for r in begun if (ttft_s := r.ttft_s) is not None]
    arrived = _tokens(requests, window)
    slots = users if parallel is None else min(users, parallel)
    return Level(
        users=users,
        queued=None if parallel is None else users > parallel,
        window_s=window.length_s,
        requests=len(ended),
        tokens=arrived,
        aggregate_tps=arrived / window.length_s,
        per_user_tps=_summary(rates, slots, "tokens/s", rejected=len(ended) - len(rates)),
        ttft_s=_summary(ttfts, slots, "s"),
        ttft_p90_s=percentile(ttfts, 0.9),
        queue_share=_queue_share(r for r in ended if window.holds(r.first_s)),
        noisy=noise.disturbing,
    )


def _tokens(requests: Iterable[Request], window: Window) -> float:
    """Return the tokens that arrived in the window.

    A chunk may hold several tokens. How many is told by the server's count of a request that ended,
    and for one that did not by all those that did.
    """
    counted = [(n, len(r.chunks_s)) for r in requests if (n := r.tokens) and r.chunks_s]
    usual = sum(n for n, _ in counted) / sum(chunks for _, chunks in counted) if counted else 1.0
    total = 0.0
    for request in requests:
        within = sum(window.holds(at_s) for at_s in request.chunks_s)
        if within:
            each = request.tokens / len(request.chunks_s) if request.tokens else usual
            total += within * each
    return total


def _summary(
    values: Sequence[float], slots: int, unit: str, *, rejected: int = 0
) -> Summary | None:
    """Return the summary of values in the order of time.

    As many in a row as there are slots ran beside each other, and what disturbs one disturbs all:
    they are one round. Of less than three rounds a bootstrap knows nothing.
    """
    rounds = [values[n : n + slots] for n in range(0, len(values), slots)]
    found = summarize(rounds, unit=unit, rejected=rejected)
    if found is None or len(rounds) >= _ENOUGH_ROUNDS:
        return found
    return replace(found, ci_low=None, ci_high=None)


def _queue_share(requests: Iterable[Request]) -> float | None:
    """Return the sum of the waits divided by the sum of the times from sending to the end."""
    known = [
        (waited_s, r.ended_s - r.sent_s)
        for r in requests
        if r.ended_s is not None and (waited_s := r.waited_s) is not None
    ]
    whole_s = sum(wall_s for _, wall_s in known)
    return min(1.0, sum(waited_s for waited_s, _ in known) / whole_s) if whole_s > 0 else None
