"""Read small documents and the beginnings of large files over HTTP, within limits.

Ranges grow from a first megabyte on, so that a header costs what it is long, and no model more
than `LIMIT_BYTES`. Every request has limits of time; what waiting can cure is asked again.
"""

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from orchestrator.errors import (
    InvalidInput,
    ModelUnavailable,
    PullFailed,
    SourceBusy,
    SourceCorrupt,
    SourceUnreachable,
)
from orchestrator.runtime.address import is_loopback
from orchestrator.transfer.answer import AUTHORITY, OTHER_PROXY, authorities, host_of, retry_after_s

if TYPE_CHECKING:
    import httpx
    import tenacity

LIMIT_BYTES = 16 * 1024**2
FIRST_BYTES = 1024**2
_REDIRECTS = 5
_LONGEST_WAIT_S = 30.0
_NETWORK = "check the network and the proxy (HTTPS_PROXY, NO_PROXY)"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a source may take: to connect, between two bytes, and for all together."""

    connect_s: float = 5.0
    read_s: float = 10.0
    whole_s: float = 120.0
    tries: int = 3


PATIENT = Patience()


class Remote:
    """Requests to one source, called `name` in messages. `transferred_bytes` counts what came."""

    def __init__(
        self,
        name: str,
        base: str,
        *,
        headers: Mapping[str, str] | None = None,
        login: str = "it asks for a login",
        patience: Patience = PATIENT,
    ) -> None:
        import httpx

        self.name = name
        self.base = base.rstrip("/")
        self.transferred_bytes = 0
        self._login = login
        self._patience = patience
        self._deadline = time.monotonic() + patience.whole_s
        try:
            self._client = httpx.Client(
                headers={"Accept-Encoding": "identity", **(headers or {})},
                follow_redirects=True,  # to another host without our Authorization
                max_redirects=_REDIRECTS,
                timeout=httpx.Timeout(patience.read_s, connect=patience.connect_s),
                trust_env=not is_loopback(self.base),  # no proxy stands between us and ourselves
                verify=authorities(),
            )
        except (ImportError, ValueError) as e:
            raise unanswered(f"{name} cannot be asked", e) from e

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def document(self, path: str, what: str, *, accept: str = "application/json") -> Any:  # noqa: ANN401
        """Return the JSON document at `path`.

        Raises ModelUnavailable, SourceUnreachable (also: no JSON), SourceBusy, InvalidInput: longer
        than LIMIT_BYTES.
        """

        def once() -> bytes:
            text = bytearray()
            with self._answer(path, what, {"Accept": accept}) as answer:
                for piece in answer.iter_raw():
                    self._count(len(piece))
                    text += piece
                    if len(text) > LIMIT_BYTES:
                        raise InvalidInput(f"{what} at {self.name}: more than {LIMIT_BYTES} bytes")
            return bytes(text)

        text = self._again(once)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as e:
            raise SourceUnreachable(
                f"{self.name} answers with {text[:40]!r}, where {what} is to be JSON",
                hint=f"another server may answer in its place; {_NETWORK}",
            ) from e

    @contextmanager
    def file(
        self, path: str, what: str, size_bytes: int, *, first_bytes: int = FIRST_BYTES
    ) -> Iterator[BinaryIO]:
        """Open the file at `path`, of that size, to read it from its start.

        Reading raises what `document` raises, and SourceCorrupt.
        """

        def fetch(buffer: bytearray, start: int, end: int) -> bool:
            return self._again(lambda: self._fetch(path, what, buffer, start, end))

        def left() -> int:
            return LIMIT_BYTES - self.transferred_bytes

        raw = _Growing(what, size_bytes, fetch, left, first_bytes)
        with closing(io.BufferedReader(raw, 64 * 1024)) as stream:
            yield stream

    def _again(self, once: Callable[[], T]) -> T:
        return retrying(self._patience.tries, self._deadline)(once)

    def _fetch(self, path: str, what: str, buffer: bytearray, start: int, end: int) -> bool:
        """Append the bytes from `start` on up to `end` to what the buffer has of them.

        Return whether the server knows ranges. One that does not sends the file from its first
        byte: what lies before is thrown away.
        """
        first = start + len(buffer)
        with self._answer(path, what, {"Range": f"bytes={first}-{end - 1}"}) as answer:
            ranged = answer.status_code == 206
            skip = self._begin(answer, what, first) if ranged else first
            for piece in answer.iter_raw():
                self._count(len(piece))
                buffer += piece[skip:]
                skip = max(0, skip - len(piece))
                if len(buffer) >= end - start:
                    break
        del buffer[end - start :]
        return ranged

    def _begin(self, answer: "httpx.Response", what: str, first: int) -> int:
        """Return 0 if a partial answer begins where it was asked to."""
        said = answer.headers.get("Content-Range", "")
        if not said.startswith(f"bytes {first}-"):
            raise SourceCorrupt(
                f"{self.name} was asked for byte {first} of {what} and sent {said or 'others'}",
                hint="another mirror may serve it right",
            )
        return 0

    def _count(self, size: int) -> None:
        self.transferred_bytes += size
        if time.monotonic() > self._deadline:
            raise SourceUnreachable(
                f"{self.name} sent {self.transferred_bytes} bytes in "
                f"{self._patience.whole_s:.0f} s, which is too slow to wait for",
                hint=_NETWORK,
            )

    def _check(self, answer: "httpx.Response", what: str) -> None:
        """Raise what a status means."""
        code, what = answer.status_code, what.removeprefix(f"{self.name}/")
        if code in (200, 206):
            return
        if code in (401, 403):
            raise ModelUnavailable(
                f"{self.name} refuses {what}: {code}", hint=self._login, status=code
            )
        if code in (404, 410):
            raise ModelUnavailable(
                f"{self.name} has no {what}", hint="check how it is spelled", status=code
            )
        if code in (408, 429, 503):
            raise SourceBusy(
                f"{self.name} asks to come back later ({code})",
                hint="repeat in some minutes",
                retry_after_s=round(retry_after_s(answer.headers.get("Retry-After", ""))),
            )
        raise SourceUnreachable(f"{self.name} answers {what} with {code}", hint=_NETWORK)

    @contextmanager
    def _answer(
        self, path: str, what: str, headers: Mapping[str, str]
    ) -> Iterator["httpx.Response"]:
        url = self.base + path
        with self._mapped(url), self._client.stream("GET", url, headers=headers) as answer:
            self._check(answer, what)
            yield answer

    @contextmanager
    def _mapped(self, url: str) -> Iterator[None]:
        """Map every failure of httpx. The host that failed is named: it may be a redirect's."""
        import httpx

        try:
            yield
        except httpx.TimeoutException as e:
            raise SourceUnreachable(
                f"{_host(e, url)} gave no byte within {self._patience.read_s:.0f} s", hint=_NETWORK
            ) from e
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise unanswered(f"{_host(e, url)} cannot be reached", e) from e


class _Growing(io.RawIOBase):
    """A file at a distance, read from its start in ranges that double what is there."""

    def __init__(
        self,
        what: str,
        size_bytes: int,
        fetch: Callable[[bytearray, int, int], bool],
        left: Callable[[], int],
        first_bytes: int,
    ) -> None:
        self._what, self._size, self._fetch, self._left = what, size_bytes, fetch, left
        self._step = first_bytes
        self._block, self._at, self._end = b"", 0, 0
        self._ranged = True

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any, /) -> int:  # noqa: ANN401 - a writable buffer
        if self._at == len(self._block):
            self._block, self._at = self._next(), 0
        count = min(len(target), len(self._block) - self._at)
        target[:count] = self._block[self._at : self._at + count]
        self._at += count
        return count

    def _next(self) -> bytes:
        if self._end >= self._size:
            return b""
        # Without ranges every request starts anew: the second takes all that may still come.
        end = self._end + min(self._step, self._left()) if self._ranged else self._left()
        end = min(end, self._size)
        if end <= self._end:
            raise InvalidInput(
                f"{self._what}: its header is not complete after {self._end} bytes, and no more "
                f"than {LIMIT_BYTES} are fetched"
            )
        buffer = bytearray()
        self._ranged = self._fetch(buffer, self._end, end)
        self._end = self._end + len(buffer) if buffer else self._size
        self._step = max(self._step, self._end)
        return bytes(buffer)


def unanswered(what: str, failure: Exception, *, hint: str = _NETWORK) -> SourceUnreachable:
    """Return the error for a request without an answer, with the way out; `hint` where unknown."""
    text = str(failure)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return SourceUnreachable(
            f"{what}: nobody that we trust signed its certificate ({text})", hint=AUTHORITY
        )
    if isinstance(failure, ImportError | ValueError):  # what httpx says of a proxy: SOCKS, or odd
        return SourceUnreachable(
            f"{what}: a proxy of the environment is no HTTP proxy", hint=OTHER_PROXY
        )
    if isinstance(failure, OSError):
        return SourceUnreachable(
            f"{what}: SSL_CERT_FILE cannot be read ({failure.strerror})", hint=AUTHORITY
        )
    return SourceUnreachable(f"{what} ({type(failure).__name__})", hint=hint)


def retrying(tries: int, deadline_s: float) -> "tenacity.Retrying":
    """Repeat what waiting can cure: no answer, or one that says "later".

    `deadline_s` is a time of time.monotonic(); after it nothing is tried again.
    """
    import tenacity

    soon = tenacity.wait_random_exponential(multiplier=0.3, max=5)
    later = tenacity.wait_exponential(multiplier=1, max=5)  # it asked for a pause

    def told_s(state: "tenacity.RetryCallState") -> float:
        failure = state.outcome.exception() if state.outcome else None
        told = failure.details.get("retry_after_s", 0) if isinstance(failure, PullFailed) else 0
        return float(told)

    def wait(state: "tenacity.RetryCallState") -> float:
        failure = state.outcome.exception() if state.outcome else None
        backoff = later if isinstance(failure, SourceBusy) else soon
        return max(told_s(state), backoff(state))

    def stop(state: "tenacity.RetryCallState") -> bool:
        ended = state.attempt_number >= tries or time.monotonic() > deadline_s
        return ended or told_s(state) > _LONGEST_WAIT_S

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((SourceBusy, SourceUnreachable)),
        stop=stop,
        wait=wait,
        reraise=True,
    )


def _host(failure: Exception, url: str) -> str:
    """Return the host that was asked last."""
    try:
        asked = str(failure.request.url)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        asked = url
    return host_of(asked)
