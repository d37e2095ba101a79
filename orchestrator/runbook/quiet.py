"""Progress without a reader: it goes into the event log, and nothing to the screen."""

import time
from contextlib import AbstractContextManager

from orchestrator import log

_EVERY_S = 30.0


class Quiet:
    """See Progress. What repeats is kept once in 30 s: a download of hours must not fill a disk."""

    def __init__(self) -> None:
        self._kept_at: dict[str, float] = {}

    def say(self, text: str) -> None:
        """See Progress.say."""
        log.event("progress.said", text=text)

    def tick(self, text: str) -> None:
        """See Progress.tick."""
        if self._due("tick"):
            self.say(text)

    def advance(self, label: str, done: int, total: int | None) -> None:
        """See Progress.advance."""
        ended = total is not None and done >= total
        if self._due(label, ended=ended):
            log.event("progress.advanced", what=label, done_bytes=done, total_bytes=total)

    def waiting(self, text: str) -> AbstractContextManager[None]:
        """See Progress.waiting."""
        return log.stage("wait", what=text)

    def _due(self, what: str, *, ended: bool = False) -> bool:
        """Whether it is time to keep this again; of what has ended the end is kept once."""
        now = time.monotonic()
        due = now - self._kept_at.get(what, -_EVERY_S) >= _EVERY_S
        if due or (ended and self._kept_at[what] < float("inf")):
            self._kept_at[what] = float("inf") if ended else now
            return True
        return False
