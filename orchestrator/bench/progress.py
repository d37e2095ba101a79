"""A sign of life while a measurement waits: prefill can be silent for minutes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a measurement is. Seconds; `remaining_s` is None while nothing is known yet."""

    stage: str
    done: int
    total: int
    elapsed_s: float
    remaining_s: float | None


Report = Callable[[Progress], None]
"""Takes progress about every two seconds, from another thread than the one that measures."""


def silent(progress: Progress) -> None:
    """Report nothing."""


class Heartbeat:
    """Calls `report` at each step and every two seconds between, until the block ends."""

    def __init__(
        self, report: Report, clock: Callable[[], float], *, every_s: float = _EVERY_S
    ) -> None:
        self._report = report
        self._clock = clock
        self._every_s = every_s
        self._started = self._step_at = clock()
        self._step: tuple[str, int, int, float | None, float] = ("", 0, 0, None, 0.0)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="bench-progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def at(
        self,
        stage: str,
        done: int,
        total: int,
        each_s: float | None = None,
        *,
        after_s: float = 0.0,
    ) -> None:
        """Say what is being done now; `each_s` is how long one step takes, `after_s` what comes
        after the last of them.
        """
        with self._lock:
            self._step, self._step_at = (stage, done, total, each_s, after_s), self._clock()
        self._say()

    def _beat(self) -> None:
        while not self._stop.wait(self._every_s):
            self._say()

    def _say(self) -> None:
        with self._lock:
            now, step, step_at = self._clock(), self._step, self._step_at
        stage, done, total, each_s, after_s = step
        left = None
        if each_s is not None:
            left = max(0.0, (total - done) * each_s - (now - step_at)) + after_s
        self._report(
            Progress(
                stage=stage,
                done=done,
                total=total,
                elapsed_s=now - self._started,
                remaining_s=left,
            )
        )
