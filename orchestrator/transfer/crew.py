"""Several files at once: threads that share a line, a pace, and one count of bytes.

Only the thread that called speaks to the progress. It wakes ten times a second, so that a signal,
or the first failure, ends all others promptly; what came stays in the `.part` files.
"""

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from orchestrator.progress import Progress
from orchestrator.runtime import disk
from orchestrator.transfer import Credentials, Fetched, Manners, Patience, Wanted
from orchestrator.transfer.answer import Line
from orchestrator.transfer.one import Work, bring, there_bytes
from orchestrator.transfer.pace import Ended, Pace
from orchestrator.units import duration

_LOOK_S = 0.1
_END_S = 3.0
_SILENT_S = 4.0


def fetch_all(
    wanted: Sequence[Wanted],
    label: str,
    progress: Progress,
    *,
    credentials: Credentials,
    manners: Manners,
    patience: Patience,
) -> list[Fetched]:
    """Return the files, in the order asked for: whole, verified, in their places.

    Raises DiskFull before the first request if what is missing does not fit. ModelUnavailable,
    SourceBusy, SourceUnreachable, SourceCorrupt, PullFailed (a folder that we may not write); Busy:
    another process holds a file and does not go on.
    """
    for each in wanted:
        with disk.mapped(each.target.parent):
            each.target.parent.mkdir(parents=True, exist_ok=True)
    _check_disks(wanted)
    return _Crew(wanted, credentials, manners, patience).run(label, progress)


def _check_disks(wanted: Sequence[Wanted]) -> None:
    """Raise DiskFull if a disk cannot take what is missing of all files that go there."""
    missing: dict[int, int] = defaultdict(int)
    folders: dict[int, Path] = {}
    for each in wanted:
        if each.size_bytes is not None:
            device = each.target.parent.stat().st_dev
            folders[device] = each.target.parent
            missing[device] += max(0, each.size_bytes - there_bytes(each))
    for device, folder in folders.items():
        disk.check(folder, missing[device])


class _Crew:
    """The threads of one download."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        credentials: Credentials,
        manners: Manners,
        patience: Patience,
    ) -> None:
        self._ended = threading.Event()
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._line = Line(credentials, patience)
        self._work = Work(
            line=self._line,
            pace=Pace(manners.bytes_per_s, self._ended),
            patience=patience,
            say=self._said.put,
            came=self._came,
        )
        self._wanted = wanted
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(wanted)):
            self._waiting.put(number)
        self._there = {each.target: 0 for each in wanted}
        self._sizes = {each.target: each.size_bytes for each in wanted}
        self._found: dict[int, Fetched] = {}
        self._failure: BaseException | None = None
        self._shown = self._done = -1
        self._came_at = self._told_at = time.monotonic()
        count = max(1, min(manners.connections, len(wanted)))
        self._threads = [
            threading.Thread(target=self._fetch, name=f"download-{n}", daemon=True)
            for n in range(count)
        ]

    def run(self, label: str, progress: Progress) -> list[Fetched]:
        """Fetch all; the first failure ends the others."""
        try:
            for thread in self._threads:
                thread.start()
            while any(thread.is_alive() for thread in self._threads):
                for thread in self._threads:
                    thread.join(_LOOK_S / len(self._threads))
                self._tell(label, progress)
        finally:
            self._end()
        self._tell(label, progress)
        if self._failure is not None:
            raise self._failure
        return [self._found[number] for number in range(len(self._wanted))]

    def _fetch(self) -> None:
        """Take file after file. The life of a thread."""
        while not self._ended.is_set():
            try:
                number = self._waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._found[number] = bring(self._wanted[number], self._work)
            except Ended:
                return
            except BaseException as e:  # noqa: BLE001 - raised again by who called
                if not self._ended.is_set():
                    self._failure = e
                self._ended.set()
                self._line.end()

    def _end(self) -> None:
        """Stop every thread. One that waits for a connection or a lock sees it when that ends."""
        self._ended.set()
        until = time.monotonic() + _END_S
        for thread in self._threads:
            while thread.is_alive() and time.monotonic() < until:
                self._line.end()
                thread.join(_LOOK_S)

    def _came(self, wanted: Wanted, there_bytes: int, size_bytes: int | None) -> None:
        self._there[wanted.target] = there_bytes
        self._sizes[wanted.target] = size_bytes

    def _tell(self, label: str, progress: Progress) -> None:
        while not self._said.empty():
            progress.say(self._said.get())
        sizes = list(self._sizes.values())
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        done, now = sum(self._there.values()), time.monotonic()
        if done != self._done:
            self._done, self._came_at = done, now
        elif now - max(self._came_at, self._told_at) > _SILENT_S:
            self._told_at = now
            progress.say(f"{label}: no byte for {duration(now - self._came_at)}")
        if done > self._shown:  # what is fetched anew is not shown to go backwards
            self._shown = done
            progress.advance(label, done, total)
