"""One download as the server reports it: shown file by file, and ended when no byte comes more."""

import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass

from orchestrator.errors import SourceUnreachable
from orchestrator.progress import Progress
from orchestrator.server.stream import PullStep
from orchestrator.source import Pulled
from orchestrator.units import gb


@dataclass(slots=True)
class _File:
    """A file of the model. Bytes; `last` may be less than `most`: a retried part counts back."""

    total: int
    first: int
    last: int
    most: int
    rises: int = 0
    reports: int = 1

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
        return self.reports == 1 and self.first == self.total

    @property
    def fetched(self) -> int:
        """What moved; a file that was complete in the first of many reports came that fast."""
        return 0 if self.cached else self.rises or (self.total if self.first == self.total else 0)


class Download:
    """Follows the pull of `tag`; without a byte more for `stall_s` seconds the source is gone.

    The server repeats its last report every 60 ms for as long as it waits for the source, so what
    counts is that a number rises, not that something is heard.
    """

    def __init__(self, tag: str, source: str, progress: Progress, *, stall_s: float) -> None:
        self._tag = tag
        self._source = source
        self._progress = progress
        self._stall_s = stall_s
        self._files: dict[str, _File] = {}
        self._advanced, self._said = time.monotonic(), ""

    def follow(self, steps: Generator[PullStep, None, None]) -> Pulled:
        """Return what was pulled when it is complete.

        Raises SourceUnreachable, with how far it got, and what the steps raise.
        """
        try:
            with ExitStack() as lasting, closing(steps):  # closed, the server stops downloading
                for step in steps:
                    self._take(step, lasting)
        except SourceUnreachable as e:
            raise self._gone(e) from e
        return Pulled(
            cached=tuple(digest for digest, file in self._files.items() if file.cached),
            fetched_bytes=sum(file.fetched for file in self._files.values()),
        )

    def _take(self, step: PullStep, lasting: ExitStack) -> None:
        if step.digest and step.total_bytes:
            lasting.close()
            self._count(step.digest, step.total_bytes, step.completed_bytes or 0)
        elif step.status != self._said:  # hashing 40 GB sends no event for minutes
            lasting.close()
            self._advanced, self._said = time.monotonic(), step.status
            lasting.enter_context(self._progress.waiting(f"pull {self._tag}: {step.status}"))
        silent_s = time.monotonic() - self._advanced
        if step.downloads and silent_s > self._stall_s:
            raise SourceUnreachable(
                f"pulling {self._tag}: no byte from {self._source} for {silent_s:.0f} s"
            )

    def _count(self, digest: str, total: int, completed: int) -> None:
        file = self._files.get(digest)
        if file is None:
            file = self._files[digest] = _File(total, completed, completed, completed)
            self._advanced = time.monotonic()
        elif file.report(completed):
            self._advanced = time.monotonic()
        self._progress.advance(f"pull {self._tag} {digest[7:19]}", file.most, total)

    def _gone(self, failure: SourceUnreachable) -> SourceUnreachable:
        """Return the failure with what is there already, which the next pull goes on from."""
        if not self._files:
            return failure
        there = sum(file.most for file in self._files.values())
        total = sum(file.total for file in self._files.values())
        return SourceUnreachable(
            f"{failure.what}; {gb(there)} of {gb(total)} are here and kept: the next run goes on"
            " from there",
            hint=failure.hint,
            done_bytes=there,
            total_bytes=total,
        )
