"""What a registry may answer, through the real server's own puller."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.errors import ModelUnavailable, SourceUnreachable
from orchestrator.server import Server
from orchestrator.source.registry import Registry
from tests.real.server import RealServer, free_port


class Heard:
    """Keeps what a person would read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def tick(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, label: str, done: int, total: int | None) -> None:
        self.lines.append(f"{label} {done} {total}")

    def waiting(self, text: str) -> nullcontext[None]:
        self.lines.append(text)
        return nullcontext()


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
