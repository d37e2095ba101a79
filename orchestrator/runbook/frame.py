"""Around every runbook: the event log, the lock, the deadline, and one line if it fails."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from orchestrator import __version__, log
from orchestrator.errors import DeadlinePassed, DeployError
from orchestrator.home import Home
from orchestrator.lock import only_one
from orchestrator.order import Order
from orchestrator.runbook import RUNBOOKS
from orchestrator.runbook.events import EventLog
from orchestrator.runbook.quiet import Quiet
from orchestrator.units import duration

_CLEANUP_S = 30.0
"""How long what the deadline ended may clean up before it is ended again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a runbook did, a sentence each, or why it failed.

    `log_failure`: the event log at `path` misses lines, and why.
    """

    runbook: str
    started_at: str
    seconds: float
    did: tuple[str, ...]
    error: DeployError | None
    path: Path
    log_failure: str | None

    @property
    def code(self) -> int:
        """The exit code."""
        return self.error.exit_code if self.error else 0

    @property
    def line(self) -> str | None:
        """What cron is to mail: one line, or None if there is nothing to tell."""
        start = f"deploy runbook {self.runbook}: exit {self.code}:"
        kept = f"log: {self.path}"
        if self.log_failure:
            kept += f", which cannot be written: {self.log_failure}"
        if self.error:
            return " ".join(f"{start} {self.error.what} ({self.error.hint}; {kept})".split())
        return f"{start} done ({kept})" if self.log_failure else None

    def to_json(self) -> dict[str, Any]:
        """Return the document (schema `runbook`)."""
        return {
            "schema": 1,
            "runbook": self.runbook,
            "outcome": "failed" if self.error else "ok",
            "code": self.code,
            "started_at": self.started_at,
            "seconds": self.seconds,
            "did": list(self.did),
            "error": self.error.to_json()["error"] if self.error else None,
            "log": str(self.path),
            "log_failure": self.log_failure,
        }


def run(
    name: str,
    environ: Mapping[str, str],
    ordered: Callable[[], Order],
    as_error: Callable[[BaseException], DeployError],
) -> Outcome:
    """Run a runbook to its end, good or bad; nothing is raised and nothing printed.

    `ordered` reads the profile, which may fail too; `as_error` says what a failure means.
    """
    home = Home.of(environ)
    events = EventLog(home.state / "runbooks.jsonl")
    started_at, begun = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), time.monotonic()
    events.rotate()
    log.keep(events.write, runbook=name, pid=os.getpid())
    log.event("runbook.begin", version=__version__)
    did: list[str] = []
    error = None
    try:
        with only_one(home, environ, f"runbook run {name}"), _deadline(RUNBOOKS[name].deadline_s):
            did = import_module(f"{__package__}.{RUNBOOKS[name].module}").run(ordered(), Quiet())
    except BaseException as e:  # noqa: BLE001 - whatever it is, cron gets one line
        error = as_error(e)
    seconds = round(time.monotonic() - begun, 3)
    if error:
        told = {"code": error.exit_code, "error": type(error).__name__, "what": error.what}
        log.event("runbook.failed", seconds=seconds, **told)
    else:
        log.event("runbook.done", seconds=seconds, code=0, did=did)
    return Outcome(
        runbook=name,
        started_at=started_at,
        seconds=seconds,
        did=tuple(did),
        error=error,
        path=events.path,
        log_failure=events.failure,
    )


@contextmanager
def _deadline(limit_s: float) -> Iterator[None]:
    """End the block after `limit_s` seconds, wherever it waits. Raises DeadlinePassed."""

    def passed(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise DeadlinePassed(f"not done within {duration(limit_s)}")

    before = signal.signal(signal.SIGALRM, passed)
    signal.setitimer(signal.ITIMER_REAL, limit_s, _CLEANUP_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
