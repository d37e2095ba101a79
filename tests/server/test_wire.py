"""Short reads end in time, whatever answers."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from orchestrator.errors import ServerUnreachable
from orchestrator.server import wire

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = (
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n4\r\n 17}\r\n0\r\n\r\n'
)


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that sends what the test says, a byte every tenth of a second, then hangs up."""
    first, rest = request.param
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link, _ = server.accept()
            with link:
                link.recv(65536)
                link.sendall(first)
                for byte in rest:
                    time.sleep(0.1)
                    try:
                        link.sendall(bytes([byte]))
                    except OSError:
                        return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("host", [(HEAD, b" " * 1000)], indirect=True)
def test_an_answer_that_comes_byte_by_byte_is_given_up(host: str) -> None:
    started = time.monotonic()
    with pytest.raises(ServerUnreachable, match="no answer to /api/ps within 1 s"):
        wire.request(host, "GET", "/api/ps", timeout_s=1)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("host", [(HEAD + b'{"models": [', b"")], indirect=True)
def test_an_answer_that_breaks_off_is_no_answer(host: str) -> None:
    with pytest.raises(ServerUnreachable, match="no Ollama server at"):
        wire.request(host, "GET", "/api/ps", timeout_s=5)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b'{"a": 17}'), id="with-a-length"
        ),
        pytest.param(
            (CHUNKED, b""),
            id="in-chunks",
        ),
        pytest.param((b"HTTP/1.0 200 OK\r\n\r\n", b'{"a": 17}'), id="until-it-hangs-up"),
    ],
    indirect=True,
)
def test_a_slow_answer_in_time_is_whole(host: str) -> None:
    assert wire.request(host, "GET", "/api/ps", timeout_s=5) == {"a": 17}
