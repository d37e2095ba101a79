"""Several users at once: a closed loop, in which each sends its next prompt when it has its answer.

A level counts from when every slot is busy, for a fixed time. Then all that still runs is
cancelled, so that nothing of it is left when the next level begins.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.bench.level import Level, Request, Window, level
from orchestrator.bench.noise import ForeignCpu, between
from orchestrator.bench.progress import Heartbeat, Report, silent
from orchestrator.bench.request import Target
from orchestrator.errors import ServerRefused
from orchestrator.server.hangup import Hangup
from orchestrator.units import duration

if TYPE_CHECKING:
    from collections.abc import Generator

    from orchestrator.server import Piece

_PATIENCE_S = 600.0
_LOOK_S = 0.1  # waits are cut up, so that a clock of the caller's own may pass faster
# All threads together, from when their connections are ended: only one that is just connecting
# takes longer than an instant, and at most the client's limit of 5 s for that.
_JOIN_S = 8.0
_QUEUE_FULL = 503


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """The levels that were measured, in the order asked for, and in words why others were not."""

    levels: tuple[Level, ...]
    left_out: tuple[str, ...]


class _LeftOut(Exception):
    """A level that gave no numbers, and why."""


def sweep(  # noqa: PLR0913 - what it must not read from the world by itself
    target: Target,
    draw: Callable[[int], str],
    levels: Sequence[int],
    *,
    prompt_tokens: int,
    tokens: int,
    window_s: float,
    parallel: int | None,
    seed: int,
    deadline: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    noise: ForeignCpu,
    report: Report = silent,
) -> Sweep:
    """Return what each number of users in `levels` got.

    `draw` gives a prompt of so many tokens, each another one; `parallel` is the number of slots,
    None where it is not known. `deadline` is on `clock`, which counts as time.perf_counter() does.
    Levels that it leaves no room for are left out, and so are those for which the server's queue is
    too short (503). Raises ServerRefused, OutOfMemory, ServerUnreachable.
    """
    loop = _Loop(
        load=_Load(target=target, draw=draw, prompt_tokens=prompt_tokens, tokens=tokens, seed=seed),
        window_s=window_s,
        parallel=parallel,
        limit=float("inf") if deadline is None else deadline,
        clock=clock,
        noise=noise,
    )
    measured: list[Level] = []
    left_out: list[str] = []
    with Heartbeat(report, clock) as beat:
        for number, users in enumerate(levels):
            beat.at("users at once", number, len(levels), loop.each_s)
            try:
                measured.append(loop.take(users))
            except _LeftOut as e:
                left_out.append(f"{users} user{'s' * (users > 1)} at once: {e}")
    return Sweep(levels=tuple(measured), left_out=tuple(left_out))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Load:
    """What every user asks for."""

    target: Target
    draw: Callable[[int], str]
    prompt_tokens: int
    tokens: int
    seed: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prompt(self) -> str:
        """Return a prompt that nobody had."""
        with self.lock:
            return self.draw(self.prompt_tokens)

    def send(self, prompt: str, hangup: Hangup) -> "Generator[Piece, None, None]":
        """Yield the chunks of the answer."""
        target = self.target
        fixed = {"temperature": 0, "seed": self.seed, **target.options}
        yield from target.server.stream(
            target.model,
            prompt,
            options={**fixed, "num_predict": self.tokens},
            timeout_s=_PATIENCE_S,
            hangup=hangup,
        )


@dataclass(kw_only=True, slots=True)
class _Loop:
    """Takes levels, and learns how long the ramp to a level lasts and where the queue ends."""

    load: _Load
    window_s: float
    parallel: int | None
    limit: float
    clock: Callable[[], float]
    noise: ForeignCpu
    ramp_s: float = 0.0
    refused: int | None = None

    @property
    def each_s(self) -> float:
        """How long a level takes, by what is known."""
        return self.ramp_s + self.window_s

    def take(self, users: int) -> Level:
        """Return a level. Raises _LeftOut: there is none."""
        if self.refused is not None and users >= self.refused:
            raise _LeftOut(f"{self.refused} were too many for the server's queue")
        if self.clock() + self.each_s > self.limit:
            left_s = max(0.0, self.limit - self.clock())
            raise _LeftOut(f"about {duration(self.each_s)}, and {duration(left_s)} are left")
        try:
            return self._take(users)
        except ServerRefused as e:
            if e.details.get("status") != _QUEUE_FULL:
                raise
            self.refused = users
            raise _LeftOut(e.what) from e

    def _take(self, users: int) -> Level:
        slots = users if self.parallel is None else min(users, self.parallel)
        began = self.clock()
        with _Users(users, self.load, self.clock) as crowd:
            crowd.start()
            if not crowd.wait(self.limit - self.window_s, served=slots):
                raise _LeftOut(
                    f"only {crowd.served} of {slots} slots gave a token in the time left"
                )
            before = self.noise.read()
            opened = self.clock()
            self.ramp_s = opened - began
            crowd.wait(opened + self.window_s)
            window = Window(opened_s=opened, closed_s=self.clock())
            noise = between(before, self.noise.read())
        found = level(
            crowd.requests,
            users=users,
            parallel=self.parallel,
            window=window,
            tokens=self.load.tokens,
            noise=noise,
        )
        if not found.tokens:
            raise _LeftOut(f"no token came within {window.length_s:.0f} s")
        return found


class _Users:
    """Threads that send one prompt after another until the block ends, and are gone then."""

    def __init__(self, count: int, load: _Load, clock: Callable[[], float]) -> None:
        self._load = load
        self._clock = clock
        self._hangup = Hangup()
        self._changed = threading.Condition()
        self._served: set[int] = set()
        self._failure: Exception | None = None
        self._requests: list[list[Request]] = [[] for _ in range(count)]
        self._threads: list[threading.Thread] = []

    @property
    def served(self) -> int:
        """How many users have had a token, or an answer without any."""
        return len(self._served)

    @property
    def requests(self) -> list[Request]:
        """All that were sent. To be read after the block: nobody writes them any more then."""
        return [r for user in self._requests for r in user]

    def start(self) -> None:
        """Let all of them begin."""
        for user, _ in enumerate(self._requests):
            thread = threading.Thread(
                target=self._work, args=(user,), name=f"bench-user-{user}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def wait(self, until: float, *, served: int | None = None) -> bool:
        """Wait until a moment of the clock, or until so many users were served: then True.

        Raises what the first user met who could not go on.
        """
        with self._changed:
            while (left_s := until - self._clock()) > 0:
                if self._failure is not None:
                    raise self._failure
                if served is not None and len(self._served) >= served:
                    return True
                self._changed.wait(min(left_s, _LOOK_S))
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hangup.end()
        until = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self, user: int) -> None:
        try:
            while not self._hangup.ended:
                self._ask(user)
        except Exception as e:  # noqa: BLE001 - raised again where it is waited for
            with self._changed:
                if self._failure is None and not self._hangup.ended:
                    self._failure = e
                self._changed.notify_all()

    def _ask(self, user: int) -> None:
        prompt = self._load.prompt()
        request = Request(sent_s=self._clock())
        self._requests[user].append(request)
        with contextlib.closing(self._load.send(prompt, self._hangup)) as pieces:
            for piece in pieces:
                request.see(piece)
                if request.chunks_s and user not in self._served:
                    self._serve(user)
        if request.ended_s is None:  # the server's guard stopped it without a result
            request.ended_s = self._clock()
        self._serve(user)

    def _serve(self, user: int) -> None:
        with self._changed:
            self._served.add(user)
            self._changed.notify_all()
