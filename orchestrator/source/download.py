"""One download as the server reports it: shown file by file, and ended when no byte comes more."""

import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass

from orchestrator.errors import DeployError, SourceUnreachable
from orchestrator.progress import Progress
from orchestrator.server.stream import PullStep
from orchestrator.source import Pulled

_SHOW_S = 0.2
"""The server reports every 60 ms, which nobody reads."""


@dataclass(slots=True)
class _File:
    """A file of the model. Bytes; `last` may be less than `most`: a retried part counts back.

    `had`: an earlier try has found it on the server.
    """

    total: int
    first: int
    last: int
    most: int
    rises: int = 0
    reports: int = 1
    had: bool = False
    shown_s: float = 0.0

    def report(self, completed: int) -> bool:
        """Take the next report; say whether it has a byte more than the one before."""
        risen = max(0, completed - self.last)
        self.rises += risen
        self.reports += 1
        self.last, self.most = completed, max(self.most, completed)
        return risen > 0

    @property
    def cached(self) -> bool:
        """Whether the server had it: then one report says so, a download brings one every 60 ms."""
        return self.had or (self.reports == 1 and self.first == self.total)

    @property
    def fetched(self) -> int:
        """What moved; a file that was complete in the first of many reports came that fast."""
        return 0 if self.cached else self.rises or (self.total if self.first == self.total else 0)


class Download:
    """Follows the pull of `tag`; without a byte more for `stall_s` seconds the source is gone.

    The server repeats its last report every 60 ms for as long as it waits for the source, so what
    counts is that a number rises, not that something is heard. A pull of several tries is one
    download: what is shown of a file never falls.
    """

    def __init__(self, tag: str, source: str, progress: Progress, *, stall_s: float) -> None:
        self._tag = tag
        self._source = source
        self._progress = progress
        self._stall_s = stall_s
        self._label = f"pull {tag}"
        self._files: dict[str, _File] = {}
        self._advanced, self._said = time.monotonic(), ""
        self.gained_bytes = 0
        """By how much the last try got further than all before it."""
        self.begun = False
        """Whether the last try got as far as the files."""

    @property
    def done_bytes(self) -> int:
        """What the server has of the files that it spoke of."""
        return sum(file.most for file in self._files.values())

    @property
    def total_bytes(self) -> int:
        """The size of the files that it spoke of: the weights come first."""
        return sum(file.total for file in self._files.values())

    def follow(self, steps: Generator[PullStep, None, None]) -> Pulled:
        """Return what was pulled when it is complete.

        Raises SourceUnreachable, and what the steps raise; the details say how far it got.
        """
        self._begin()
        try:
            with ExitStack() as lasting, closing(steps):  # closed, the server stops downloading
                for step in steps:
                    self._take(step, lasting)
        except DeployError as e:
            if self._files:
                e.details |= {"done_bytes": self.done_bytes, "total_bytes": self.total_bytes}
            raise
        return Pulled(
            cached=tuple(digest for digest, file in self._files.items() if file.cached),
            fetched_bytes=sum(file.fetched for file in self._files.values()),
        )

    def begin_anew(self) -> None:
        """Show the files under another label from now on: the server threw away what it had."""
        self._label = f"pull {self._tag} again"
        for file in self._files.values():
            file.most = 0

    def _begin(self) -> None:
        self._advanced, self._said, self.gained_bytes = time.monotonic(), "", 0
        self.begun = False
        for file in self._files.values():
            file.had, file.shown_s = file.cached, 0.0

    def _take(self, step: PullStep, lasting: ExitStack) -> None:
        if step.digest and step.total_bytes:
            lasting.close()
            self._count(step.digest, step.total_bytes, step.completed_bytes or 0)
        elif step.status != self._said:  # hashing 40 GB sends no event for minutes
            lasting.close()
            self._advanced, self._said = time.monotonic(), step.status
            lasting.enter_context(self._progress.waiting(f"{self._label}: {step.status}"))
        silent_s = time.monotonic() - self._advanced
        if step.downloads and silent_s > self._stall_s:
            raise SourceUnreachable(
                f"pulling {self._tag}: no byte from {self._source} for {silent_s:.0f} s",
                cause="line",
            )

    def _count(self, digest: str, total: int, completed: int) -> None:
        now, file, self.begun = time.monotonic(), self._files.get(digest), True
        if file is None:
            file = self._files[digest] = _File(total, completed, completed, completed)
            self._advanced = now
        else:
            before = file.most
            if file.report(completed):
                self._advanced = now
            self.gained_bytes += file.most - before
        if completed >= total or now - file.shown_s >= _SHOW_S:
            file.shown_s = now
            self._progress.advance(f"{self._label} {digest[7:19]}", file.most, total)
