"""The life of one file: what is there, what is missing, asked for until it is whole, verified."""

import errno
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from orchestrator import log
from orchestrator.errors import Busy, PullFailed, SourceBusy, SourceCorrupt, SourceUnreachable
from orchestrator.runtime import disk
from orchestrator.transfer import Fetched, Patience, Wanted
from orchestrator.transfer.answer import PORTAL, Answer, Line, host_of
from orchestrator.transfer.digest import Digest, git_blob
from orchestrator.transfer.pace import Pace
from orchestrator.units import duration, gb

if TYPE_CHECKING:
    import tenacity

_PIECE_BYTES = 1024 * 1024
_FAST_BYTES_PER_S = 50e6
_FIRST_WAIT_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What the threads of one download share. `came` is told how many bytes of a file are there,
    and how many it has in all (None: unknown).
    """

    line: Line
    pace: Pace
    patience: Patience
    say: Callable[[str], None]
    came: Callable[[Wanted, int, int | None], None]


def part_of(target: Path) -> Path:
    """Return where a file lies while it comes."""
    return target.with_name(target.name + ".part")


def there_bytes(wanted: Wanted) -> int:
    """Return how many bytes of a file are on the disk already, as far as sizes tell."""
    target, part = wanted.target, part_of(wanted.target)
    if target.is_file() and target.stat().st_size == wanted.size_bytes:
        return wanted.size_bytes
    return part.stat().st_size if part.is_file() else 0


def bring(wanted: Wanted, work: Work) -> Fetched:
    """Return the whole file. Raises what orchestrator.transfer.fetch raises, and Ended."""
    guard = wanted.target.with_name(wanted.target.name + ".lock")
    with disk.locked(
        guard,
        what=f"another process that fetches {wanted.what}",
        limit_s=float("inf"),
        report=_watched(wanted, work),
    ):
        work.pace.wait(0)
        found = _whole(wanted, work) or _File(wanted, work).fetched()
        guard.unlink(missing_ok=True)  # who still waits for it finds the file whole
        return found


def _watched(wanted: Wanted, work: Work) -> Callable[[str], None]:
    """Return what is told while another process has the file: it lives as long as that grows."""
    patience = work.patience
    limit_s = patience.tries * (patience.longest_wait_s + patience.read_s)
    grown, since = -1, time.monotonic()

    def report(text: str) -> None:
        nonlocal grown, since
        work.pace.wait(0)
        if (size := there_bytes(wanted)) != grown:
            grown, since = size, time.monotonic()
        if time.monotonic() - since > limit_s:
            raise Busy(f"another process holds {wanted.what}, and it grows no more: {gb(size)}")
        work.say(f"{text}: {gb(size)} so far")

    return report


def _whole(wanted: Wanted, work: Work) -> Fetched | None:
    """Return the target if it is there and is what is wanted; without size and digest: never."""
    target = wanted.target
    if not target.is_file() or (wanted.digest is None and wanted.size_bytes is None):
        return None
    size = target.stat().st_size
    if wanted.size_bytes not in (None, size):
        return None
    digest = _hashed(target, wanted, work)
    sha256 = digest.close()
    if not _matches(wanted, target, sha256):
        work.say(f"{target.name} is there and damaged; it is fetched anew")
        return None
    work.came(wanted, size, size)
    return Fetched(path=target, size_bytes=size, sha256=sha256, fetched_bytes=0)


def _hashed(path: Path, wanted: Wanted, work: Work) -> Digest:
    """Return the digest of what lies there, open for more."""
    digest = Digest()
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE_BYTES):
                work.pace.wait(0)
                digest.update(piece)
                work.came(wanted, digest.size_bytes, wanted.size_bytes)
    except BaseException:
        digest.close()
        raise
    return digest


def _matches(wanted: Wanted, path: Path, sha256: str) -> bool:
    if wanted.digest is None:
        return True
    return wanted.digest == (git_blob(path) if wanted.digest.startswith("git:") else sha256)


def _curable(failure: BaseException) -> bool:
    """Say whether waiting may cure a failure: no certificate becomes one that we trust."""
    if not isinstance(failure, SourceBusy | SourceUnreachable):
        return False
    return "certificate" not in failure.details


class _Damaged(Exception):
    """What came has another digest, the one that it says."""


@dataclass(slots=True)
class _File:
    """A file that is fetched: `size` bytes in all once somebody said so; `moved` in this run.

    `reached` is how far it ever came: what a line without ranges sends again is no progress.
    """

    wanted: Wanted
    work: Work
    size: int | None = field(init=False)
    moved: int = 0
    reached: int = 0
    html: bool = False
    host: str = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.wanted.size_bytes
        self.host = host_of(self.wanted.url)

    @property
    def part(self) -> Path:
        return part_of(self.wanted.target)

    def fetched(self) -> Fetched:
        """Fetch it, and once more from the start if its bytes are not those that are wanted."""
        if self.wanted.digest is None and self.wanted.size_bytes is None:
            self.part.unlink(missing_ok=True)  # nobody could say that both halves are of one file
        try:
            return self._verified()
        except _Damaged:
            self.work.say(f"{self.wanted.what} came damaged; once more from its start")
        try:
            return self._verified()
        except _Damaged as e:
            raise self._damaged(str(e)) from None

    def _verified(self) -> Fetched:
        """Return the file in its place. Raises _Damaged: then it is thrown away."""
        sha256 = self._filled()
        if not _matches(self.wanted, self.part, sha256):
            got = git_blob(self.part) if "git:" in (self.wanted.digest or "") else sha256
            self.part.unlink()
            raise _Damaged(got)
        with self.part.open("rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        self.part.replace(self.wanted.target)
        return Fetched(
            path=self.wanted.target, size_bytes=size, sha256=sha256, fetched_bytes=self.moved
        )

    def _damaged(self, got: str) -> PullFailed:
        if self.html:
            return self._portal()
        want = self.wanted.digest
        return SourceCorrupt(
            f"{self.host} sends {self.wanted.what} damaged, twice: want {want}, got {got}",
            want=want,
            got=got,
        )

    def _portal(self) -> SourceUnreachable:
        return SourceUnreachable(
            f"{self.host} answers with a page of HTML where {self.wanted.what} should be",
            hint=PORTAL,
        )

    def _filled(self) -> str:
        """Return the "sha256:…" of the part once every byte has come."""
        with self._opened() as file:
            digest = _hashed(self.part, self.wanted, self.work)
            self.reached = digest.size_bytes
            if digest.size_bytes:
                self.work.say(f"{self.wanted.what}: {gb(digest.size_bytes)} are there")
            hashes = [digest]
            try:
                whole = False
                while not whole:
                    whole = self._patiently()(self._some, file, hashes)
            finally:
                hashes[0].close()
        return hashes[0].close()

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Open the part to append to it; a disk that is full is told with what is missing."""
        try:
            with self.part.open("ab", buffering=0) as file:
                yield file
        except OSError as e:
            if e.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            missing = None if self.size is None else self.size - there_bytes(self.wanted)
            raise disk.full(self.part.parent, missing) from e

    def _patiently(self) -> "tenacity.Retrying":
        """Repeat what waiting can cure; made anew for each stretch of bytes that came."""
        import tenacity

        patience = self.work.patience
        backoff = tenacity.wait_random_exponential(
            multiplier=_FIRST_WAIT_S, max=patience.longest_wait_s
        )

        def told_s(state: "tenacity.RetryCallState") -> float:
            failure = state.outcome.exception() if state.outcome else None
            told = failure.details.get("retry_after_s", 0) if isinstance(failure, PullFailed) else 0
            return float(told)

        def wait(state: "tenacity.RetryCallState") -> float:
            return min(patience.longest_wait_s, told_s(state) or backoff(state))

        def stop(state: "tenacity.RetryCallState") -> bool:
            # Who asks for an hour is not asked each minute in vain.
            too_long = told_s(state) > patience.tries * patience.longest_wait_s
            return too_long or state.attempt_number >= patience.tries

        def before(state: "tenacity.RetryCallState") -> None:
            failure = state.outcome.exception() if state.outcome else None
            self._told(failure, state.upcoming_sleep)

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(_curable),
            stop=stop,
            wait=wait,
            before_sleep=before,
            sleep=self.work.pace.wait,
            reraise=True,
        )

    def _told(self, failure: BaseException | None, wait_s: float) -> None:
        self.work.say(f"{self.wanted.what}: {failure}; again in {duration(wait_s)}")
        log.event(
            "download.retried",
            what=self.wanted.what,
            host=self.host,
            error=type(failure).__name__,
            wait_s=round(wait_s, 3),
        )

    def _some(self, file: BinaryIO, hashes: list[Digest]) -> bool:
        """Ask for what is missing; say whether the file is whole.

        A connection that breaks after new bytes have come is no failed try: the tries begin anew.
        """
        self.work.pace.wait(0)
        if self.size is not None and hashes[0].size_bytes > self.size:
            self._anew(file, hashes)
            self.reached = 0
        if self.size is not None and hashes[0].size_bytes == self.size:
            return True
        before = self.reached
        try:
            with self.work.line.ask(self.wanted.url, hashes[0].size_bytes) as answer:
                self._begin(answer, file, hashes)
                self._take(answer, file, hashes[0])
        except SourceUnreachable as e:
            if self.reached == before:
                raise
            wait_s = min(self.work.patience.longest_wait_s, random.uniform(0, 1))  # noqa: S311
            self._told(e, wait_s)
            self.work.pace.wait(wait_s)
            return False
        return True

    def _begin(self, answer: Answer, file: BinaryIO, hashes: list[Digest]) -> None:
        """Judge an answer before its first byte, and begin anew where it does."""
        self.host = answer.host
        there = hashes[0].size_bytes
        if answer.status == 416:
            self._anew(file, hashes)
            raise SourceUnreachable(f"{self.host} has no byte {there} of {self.wanted.what}")
        self.html = answer.html
        if answer.html and self._no_page(answer):
            raise self._portal()
        if self.size is None:
            self.size = answer.total_bytes
            if self.size is not None:
                disk.check(self.part.parent, self.size - there)
        elif answer.total_bytes not in (None, self.size):
            raise SourceCorrupt(
                f"{self.host} has {self.wanted.what} with {answer.total_bytes} bytes, where "
                f"{self.size} are expected",
                want=self.size,
                got=answer.total_bytes,
            )
        if answer.first != there:
            self._anew(file, hashes)
        elif there:
            log.event("download.resumed", what=self.wanted.what, host=self.host, at_bytes=there)

    def _no_page(self, answer: Answer) -> bool:
        """Say whether a page of HTML cannot be the file."""
        if self.wanted.size_bytes is not None:
            return answer.total_bytes != self.wanted.size_bytes
        named = self.wanted.target.suffix in {".html", ".htm"}
        return self.wanted.digest is None and not named

    def _take(self, answer: Answer, file: BinaryIO, digest: Digest) -> None:
        """Write what comes, up to the size. Raises SourceUnreachable: it ends before."""
        fast = False
        while self.size is None or digest.size_bytes < self.size:
            most = self.work.pace.piece_bytes(_PIECE_BYTES)
            left = most if self.size is None else self.size - digest.size_bytes
            began = time.monotonic()
            # Whole pieces cost less; on a slow line they would lose what a break interrupts.
            piece = answer.read(min(most, left), whole=fast)
            fast = len(piece) > _FAST_BYTES_PER_S * (time.monotonic() - began)
            if not piece:
                break
            _write(file, piece)
            digest.update(piece)
            self.moved += len(piece)
            self.reached = max(self.reached, digest.size_bytes)
            self.work.came(self.wanted, digest.size_bytes, self.size)
            self.work.pace.take(len(piece))
        if self.size is not None and digest.size_bytes < self.size:
            raise SourceUnreachable(
                f"{self.host} ended {self.wanted.what} after {digest.size_bytes} of "
                f"{self.size} bytes"
            )
        self.size = digest.size_bytes

    def _anew(self, file: BinaryIO, hashes: list[Digest]) -> None:
        """Throw away what is there."""
        hashes[0].close()
        file.truncate(0)
        hashes[0] = Digest()


def _write(file: BinaryIO, piece: bytes) -> None:
    """Write all of a piece: an unbuffered file may take a part of it where the disk is full."""
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]
