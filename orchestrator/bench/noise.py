"""What else used the processors: a decode rate taken beside a compiler says nothing of the model.

Foreign = busy - the server with all its runners - this process. Steal is what the hypervisor gave
to other guests. Spells of half the speed exist that neither of them shows.
"""

import time
from collections import deque
from dataclasses import dataclass

# Processor time is counted in ticks of 10 ms: over less than this the share is mostly rounding.
_MIN_WINDOW_S = 0.25
NOISY_SHARE = 0.10
"""Share of all processors from which a sample is marked: below it the variation of decode fell from
17 % to 7 % in 78 samples; it does more than ten times as many samples would."""
_MOST_SHORT = 64
_IDLE = ("idle", "iowait", "steal", "guest", "guest_nice")  # guest is in user already


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuReading:
    """Processor seconds since boot (all processors) and since start (`own`, `server`)."""

    at_s: float
    total_s: float
    busy_s: float
    steal_s: float
    own_s: float
    server_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Shares of all processors over a window, 0 to 1; None: not known, or the window too short."""

    foreign_cpu: float | None = None
    steal: float | None = None

    @property
    def disturbing(self) -> bool:
        """So much that a rate taken meanwhile is no measure."""
        return max(self.foreign_cpu or 0.0, self.steal or 0.0) >= NOISY_SHARE


class ForeignCpu:
    """Reads processor time: the box's, ours, and that of the server with its runners.

    `server_pid` None, or a server that may not be read: foreign time stays unknown.
    """

    def __init__(self, server_pid: int | None) -> None:
        self._server_pid = server_pid

    def read(self) -> CpuReading:
        """Return the counters now. Costs a few milliseconds, so it is never read while timing."""
        import psutil

        times = psutil.cpu_times()._asdict()
        busy = sum(v for k, v in times.items() if k not in _IDLE)
        steal = float(times.get("steal", 0.0))
        mine = psutil.Process().cpu_times()
        return CpuReading(
            at_s=time.monotonic(),
            total_s=busy + times["idle"] + times.get("iowait", 0.0) + steal,
            busy_s=busy,
            steal_s=steal,
            own_s=mine.user + mine.system,
            server_s=self._server(),
        )

    def _server(self) -> float | None:
        """Return the time of the server's tree, runners that have ended included."""
        import psutil

        if self._server_pid is None:
            return None
        try:
            root = psutil.Process(self._server_pid)
            spent = sum(root.cpu_times()[:4])  # user, system, and both of children that ended
            children = root.children(recursive=True)
        except (psutil.Error, OSError):
            return None
        for child in children:
            try:
                spent += sum(child.cpu_times()[:4])
            except (psutil.Error, OSError):
                continue  # ended since the listing: its time is the parent's from now on
        return float(spent)


def between(before: CpuReading, after: CpuReading) -> Noise:
    """Return the noise between two readings."""
    total = after.total_s - before.total_s
    if after.at_s - before.at_s < _MIN_WINDOW_S or total <= 0:
        return Noise()
    steal = min(1.0, max(0.0, (after.steal_s - before.steal_s) / total))
    if before.server_s is None or after.server_s is None:
        return Noise(steal=steal)
    ours = after.server_s - before.server_s + after.own_s - before.own_s
    foreign = after.busy_s - before.busy_s - ours
    return Noise(foreign_cpu=min(1.0, max(0.0, foreign / total)), steal=steal)


class Span:
    """The noise around requests one after another: over each, or over the last few together where
    one is too short to tell.
    """

    def __init__(self, source: ForeignCpu) -> None:
        self._source = source
        self._begun: deque[CpuReading] = deque(maxlen=_MOST_SHORT)

    def begin(self) -> None:
        """Say that a request is about to be sent."""
        self._begun.append(self._source.read())

    def end(self) -> Noise:
        """Return the noise up to now, since the latest begin that lies far enough back."""
        now = self._source.read()
        for before in reversed(self._begun):
            if now.at_s - before.at_s >= _MIN_WINDOW_S:
                return between(before, now)
        return Noise()
