"""What a registry may answer, through the real server's own puller."""

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.errors import ModelUnavailable, SourceUnreachable
from orchestrator.server import Server
from orchestrator.server.stream import PullStep
from orchestrator.source import Pulled
from orchestrator.source.download import Download
from orchestrator.source.registry import Registry
from tests.loop.heard import Heard
from tests.real.server import RealServer, free_port


@contextmanager
def registry_answering(*codes: int) -> Iterator[tuple[str, list[int]]]:
    """A registry that answers one request after another with these codes, then with 404."""
    left, given = list(codes), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code = left.pop(0) if left else 404
            given.append(code)
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", given
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def test_a_busy_registry_is_asked_again_and_its_last_word_counts(server: RealServer) -> None:
    heard = Heard()
    with registry_answering(503, 429) as (url, given), pytest.raises(ModelUnavailable):
        Registry(Server(server.url), url).pull("qwen3:0.6b", heard)
    assert given == [503, 429, 404]
    assert sum("again in" in line for line in heard.lines) == 2


def test_a_model_that_is_not_there_is_not_asked_for_again(server: RealServer) -> None:
    with registry_answering() as (url, given), pytest.raises(ModelUnavailable):
        Registry(Server(server.url), url).pull("qwen3:0.6b", Heard())
    assert given == [404]


def test_nobody_at_the_address_is_unreachable_not_unavailable(server: RealServer) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(SourceUnreachable, match="connection refused"):
        Registry(Server(server.url), nobody).pull("qwen3:0.6b", Heard())


def _step(completed: int | None, digest: str = "sha256:model", total: int = 100) -> PullStep:
    return PullStep(
        status=f"pulling {digest[7:]}",
        digest=digest,
        total_bytes=total,
        completed_bytes=completed,
    )


def _paced(reports: Iterable[PullStep], *, pause_s: float) -> Generator[PullStep, None, None]:
    for report in reports:
        time.sleep(pause_s)
        yield report


def _follow(reports: Iterable[PullStep], *, pause_s: float = 0.0, stall_s: float = 9) -> Pulled:
    steps = _paced(reports, pause_s=pause_s)
    return Download("qwen3:0.6b", "a registry", Heard(), stall_s=stall_s).follow(steps)


def test_what_was_there_before_is_told_apart_from_what_came_quickly() -> None:
    reports = [
        _step(100, "sha256:cached"),
        _step(100, "sha256:quick"),
        _step(100, "sha256:quick"),
        _step(40, "sha256:resumed"),
        _step(100, "sha256:resumed"),
    ]

    assert _follow(reports) == Pulled(cached=("sha256:cached",), fetched_bytes=160)


def test_a_part_that_begins_anew_is_no_standstill() -> None:
    falls = [0, 80, *range(0, 80, 8)]  # below what was reached, but a byte more each time

    assert _follow(map(_step, falls), pause_s=0.1, stall_s=0.5).fetched_bytes == 80 + 72


def test_the_same_number_again_and_again_is_a_standstill() -> None:
    steps = _paced([_step(80 * 10**6, total=10**8)] * 20, pause_s=0.1)

    with pytest.raises(SourceUnreachable, match=r"80 MB of 0\.10 GB are here and kept"):
        Download("qwen3:0.6b", "a registry", Heard(), stall_s=0.5).follow(steps)

    assert next(steps, None) is None  # it is closed, and so the server stops downloading


def test_hashing_takes_as_long_as_it_takes() -> None:
    hashing = PullStep(
        status="verifying sha256 digest", digest=None, total_bytes=None, completed_bytes=None
    )
    assert _follow([_step(100), *[hashing] * 10], pause_s=0.1, stall_s=0.5).fetched_bytes == 0
