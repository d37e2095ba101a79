"""Threads that read memory side by side, in rounds: how fast they were together in each."""

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.units import MIB

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LIMIT_S = 1.2  # of all together; a quiet box needs less than half
_FILL_S = 0.6
_ROUNDS_S = 0.18
_PIECE = MIB  # numbers of 8 bytes, filled between two looks at the clock


def read_in_rounds(threads: int, size_bytes: int, least_bytes: int) -> list[float]:
    """Return the bytes a second that so many threads read together, one figure for each round.

    On a slow box less than `size_bytes` is read, never less than `least_bytes`.

    Each thread sums numbers of its own, which it filled itself: on NUMA they lie near to it. numpy
    gives up the lock of the interpreter meanwhile, and needs no library of threads of its own.
    Raises OSError: no round could be measured, with the reason.
    """
    try:
        import numpy as np
    except (ImportError, OSError, RuntimeError, ValueError, AttributeError) as e:
        raise OSError(f"numpy cannot be loaded ({e})") from e
    rounds = _Rounds(threads=threads, numbers=size_bytes // threads // np.dtype("int64").itemsize)
    workers = [
        threading.Thread(target=rounds.work, args=(index,), daemon=True) for index in range(threads)
    ]
    try:
        for worker in workers:
            worker.start()
    except RuntimeError as e:
        rounds.barrier.abort()
        raise OSError(f"threads cannot be started ({e})") from e
    for worker in workers:
        worker.join(max(0.0, rounds.started + LIMIT_S - time.monotonic()))
    rounds.barrier.abort()
    rates = rounds.rates()
    if not rates or sum(rounds.sizes) < least_bytes:
        raise OSError(rounds.fault or "the box is too busy")
    return rates


@dataclass(kw_only=True, slots=True)
class _Rounds:
    """What the threads share. Whoever comes last to the barrier says whether one more is read."""

    threads: int
    numbers: int
    started: float = field(default_factory=time.monotonic)
    barrier: threading.Barrier = field(init=False)
    sizes: list[int] = field(init=False)
    spans: list[list[tuple[float, float]]] = field(init=False)
    ends: float | None = None
    over: bool = False
    fault: str | None = None

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.threads, action=self._decide, timeout=LIMIT_S)
        self.sizes = [0] * self.threads
        self.spans = [[] for _ in range(self.threads)]

    def work(self, index: int) -> None:
        """Fill a part and read it in step with the other threads. Never raises."""
        try:
            part = self._filled()
            self.sizes[index] = part.nbytes
            while True:
                self.barrier.wait()
                if self.over:
                    return
                start = time.perf_counter()
                part.sum()
                self.spans[index].append((start, time.perf_counter()))
        except threading.BrokenBarrierError:
            return
        except MemoryError:
            self.fault = "there is too little memory"
            self.barrier.abort()

    def rates(self) -> list[float]:
        """Return the bytes a second of each round that all threads finished."""
        rounds = list(zip(*self.spans, strict=False))
        took = [max(end for _, end in each) - min(start for start, _ in each) for each in rounds]
        return [sum(self.sizes) / seconds for seconds in took if seconds > 0]

    def _filled(self) -> "NDArray[np.int64]":
        import numpy as np

        part = np.empty(self.numbers, np.int64)
        for first in range(0, self.numbers, _PIECE):
            # The kernel hands the memory over at the first touch, on a starved box slowly.
            if time.monotonic() > self.started + _FILL_S:
                return part[:first]
            part[first : first + _PIECE] = 1
        return part

    def _decide(self) -> None:
        now = time.monotonic()
        self.ends = self.ends or min(now + _ROUNDS_S, self.started + LIMIT_S)
        self.over = now > self.ends
