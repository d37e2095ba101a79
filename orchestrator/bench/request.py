"""The stopwatch: one generation, timed by our clock and by the server's."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.bench.device_state import DeviceState
from orchestrator.bench.noise import ForeignCpu, Span
from orchestrator.bench.sample import Sample
from orchestrator.errors import InvalidInput, ServerUnreachable

if TYPE_CHECKING:
    from collections.abc import Generator

    from orchestrator.server import Done, Piece, Server

_PATIENCE_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The model under test. `options` go with every request: another num_ctx, num_thread, num_gpu,
    num_batch or use_mmap between two requests makes the server load the model anew.

    Raises InvalidInput: no num_ctx. The server's own default differs between versions.
    """

    server: "Server"
    model: str
    options: Mapping[str, object]

    def __post_init__(self) -> None:
        if not isinstance(self.options.get("num_ctx"), int):
            raise InvalidInput(
                f"the options for {self.model} name no num_ctx", hint="set num_ctx to an integer"
            )

    @property
    def num_ctx(self) -> int:
        """The context of one slot in tokens."""
        return int(str(self.options["num_ctx"]))


@dataclass(slots=True)
class _Watch:
    """What was seen of a stream."""

    first_s: float | None = None
    last_s: float | None = None
    chunks: int = 0
    done: "Done | None" = None

    def see(self, piece: "Piece") -> None:
        # The first chunk with anything in it: a thinking model's first tokens are no `text`.
        if piece.text or piece.thinking:
            self.chunks += 1
            self.first_s = piece.at_s if self.first_s is None else self.first_s
            self.last_s = piece.at_s
        if piece.done is not None:
            self.done = piece.done


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopwatch:
    """Times requests to one target. `clock` counts as time.perf_counter() does, since the server's
    pieces carry that; `deadline` is on it too. `states` reads the devices after each request.
    """

    target: Target
    clock: Callable[[], float]
    started: float
    seed: int
    deadline: float | None = None
    noise: Span = field(default_factory=lambda: Span(ForeignCpu(None)))
    states: Callable[[], tuple[DeviceState, ...]] = tuple

    def time(
        self,
        prompt: str,
        *,
        tokens: int,
        prompt_tokens: int,
        number: int = 0,
        round_: int = 0,
        attempt: int = 0,
        warmup: bool = False,
    ) -> Sample | None:
        """Return the sample of one request; None: the deadline came first.

        `prompt_tokens` and `tokens` are what the prompt should have and what is to be generated.
        Raises ServerRefused, OutOfMemory, ServerUnreachable.
        """
        self.noise.begin()
        sent = self.clock()
        watch = self._stream(prompt, tokens)
        ended = self.clock()
        devices = self.states()  # at once: a device cools and clocks down within a second
        noise = self.noise.end()
        if watch is None:
            return None
        done, first, last = watch.done, watch.first_s, watch.last_s
        return Sample(
            round=round_,
            attempt=attempt,
            prompt=number,
            warmup=warmup,
            started_s=sent - self.started,
            wall_s=ended - sent,
            want_prompt_tokens=prompt_tokens,
            want_tokens=tokens,
            prompt_tokens=None if done is None else done.prompt_eval_count,
            tokens=None if done is None else done.eval_count,
            reason=done.reason if done else "",
            prefill_s=None if done is None else done.prompt_eval_s,
            decode_s=None if done is None else done.eval_s,
            load_s=None if done is None else done.load_s,
            ttft_s=None if first is None else first - sent,
            stream_s=None if first is None or last is None else last - first,
            chunks=watch.chunks,
            foreign_cpu=noise.foreign_cpu,
            steal=noise.steal,
            devices=devices,
        )

    def _stream(self, prompt: str, tokens: int) -> _Watch | None:
        watch = _Watch()
        try:
            with contextlib.closing(self._pieces(prompt, tokens)) as pieces:
                for piece in pieces:
                    watch.see(piece)
                    if self.left_s() <= 0 and watch.done is None:
                        return None
        except ServerUnreachable:
            if self.left_s() <= 0:
                return None  # our own time limit, not the server's fault
            raise
        return watch

    def _pieces(self, prompt: str, tokens: int) -> "Generator[Piece, None, None]":
        target = self.target
        options = {"temperature": 0, "seed": self.seed, **target.options, "num_predict": tokens}
        yield from target.server.stream(
            target.model,
            prompt,
            options=options,
            timeout_s=min(_PATIENCE_S, max(1.0, self.left_s())),
        )

    def left_s(self) -> float:
        """Return the seconds until the deadline; infinity without one."""
        return float("inf") if self.deadline is None else self.deadline - self.clock()
