"""Progress on stderr: bars on a terminal, plain lines elsewhere; never silent for 5 seconds."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from orchestrator.units import duration, gb

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress as RichProgress
    from rich.progress import Task, TaskID

_EVERY_S = 4.0
_BAR = 12
_BESIDE = _BAR + 43  # what the bar, bytes, rate and times of a line take at most


class Plain:
    """One line at a time: for cron, pipes and logs."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[float, int]] = {}
        self._said_at = 0.0

    def say(self, text: str) -> None:
        """See Progress.say."""
        self._said_at = time.monotonic()
        with suppress(BrokenPipeError):  # a lost reader of the log must not stop the work
            click.echo(text, err=True)

    def tick(self, text: str) -> None:
        """See Progress.tick: at most one line in four seconds."""
        if time.monotonic() - self._said_at >= _EVERY_S:
            self.say(text)

    def advance(self, label: str, done: int, total: int | None) -> None:
        """See Progress.advance: a line at the start, every four seconds, and at the end."""
        now = time.monotonic()
        at, before = self._shown.get(label, (0.0, 0))
        ended = total is not None and done >= total
        if now - at < _EVERY_S and (not ended or before == done):
            return
        self._shown[label] = (now, done)
        if ended and before == done and at:
            return
        rate = (done - before) / (now - at) if at and now > at else 0.0
        parts = [f"{label}: {gb(done)}" + (f" of {gb(total)}" if total else "")]
        if total:
            parts.append(f"{100 * done / total:.0f} %")
        if rate and total and not ended:
            parts += [f"{gb(rate)}/s", f"{duration((total - done) / rate)} left"]
        self.say(", ".join(parts))

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """See Progress.waiting."""
        self.say(text)
        ended = threading.Event()
        started = time.monotonic()

        def beat() -> None:
            while not ended.wait(_EVERY_S):
                self.say(f"{text}: {duration(time.monotonic() - started)} so far")

        thread = threading.Thread(target=beat, name="waiting", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class Screen:
    """Bars with bytes, rate and time left, on a terminal."""

    def __init__(self, bars: "RichProgress") -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._line: TaskID | None = None

    def say(self, text: str) -> None:
        """See Progress.say."""
        self._drop_line()
        self._bars.console.print(text, markup=False, highlight=False)

    def tick(self, text: str) -> None:
        """See Progress.tick."""
        if self._line is None:
            self._line = self._bars.add_task(text, total=None)
        self._bars.update(self._line, description=text)

    def advance(self, label: str, done: int, total: int | None) -> None:
        """See Progress.advance."""
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total, of_bytes=True)
        self._bars.update(self._tasks[label], completed=done, total=total)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """See Progress.waiting."""
        task = self._bars.add_task(text, total=None)
        try:
            yield
        finally:
            self._bars.remove_task(task)

    def _drop_line(self) -> None:
        if self._line is not None:
            self._bars.remove_task(self._line)
            self._line = None


@contextmanager
def progress() -> Iterator[Plain | Screen]:
    """Return the progress that suits stderr, for as long as work lasts."""
    if not sys.stderr.isatty():
        yield Plain()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column

    class OfBytes(ProgressColumn):
        """A column that only downloads have."""

        def __init__(self, column: ProgressColumn) -> None:
            super().__init__(Column(no_wrap=True))
            self._column = column

        def render(self, task: "Task") -> "RenderableType":
            return self._column(task) if task.fields.get("of_bytes") else ""

    console = Console(stderr=True)
    label = Column(no_wrap=True, overflow="ellipsis", max_width=max(16, console.width - _BESIDE))
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=label),
        OfBytes(BarColumn(bar_width=_BAR)),
        OfBytes(DownloadColumn()),
        OfBytes(TransferSpeedColumn()),
        OfBytes(TimeRemainingColumn()),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield Screen(bars)
