"""Answers that come in pieces: ended by another thread, through a template, at little cost."""

import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.errors import DeployError, ServerRefused, ServerUnreachable
from orchestrator.server import Server
from orchestrator.server.hangup import Hangup
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

OPTIONS = {"num_ctx": 2048, "num_predict": 2}
LONG = {"num_ctx": 2048, "num_predict": 2000}
QWEN, THINKER = "qwen2.5:0.5b", "qwen3:0.6b"


def _read(server: Server, prompt: str, hangup: Hangup, met: list[DeployError]) -> threading.Thread:
    """Read an answer in another thread, which is started; what it meets goes into `met`."""

    def read() -> None:
        try:
            list(server.stream(QWEN, prompt, options=LONG, hangup=hangup))
        except DeployError as e:
            met.append(e)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def test_answers_end_from_another_thread_and_their_slot_is_free(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    tiny.create(server, tiny_models[QWEN])
    ours, hangup = Server(server.url), Hangup()
    ours.load(QWEN, options=LONG)
    met: list[DeployError] = []
    # One slot: one of them is being answered, the other has not had a byte yet.
    readers = [_read(ours, f" {word}", hangup, met) for word in ("one", "two")]
    time.sleep(0.5)

    hangup.end()
    for reader in readers:
        reader.join(5)

    assert [type(e) for e in met] == [ServerUnreachable] * 2
    sent = time.perf_counter()
    assert list(ours.stream(QWEN, " three", options={**LONG, "num_predict": 2}))[-1].done
    assert time.perf_counter() - sent < 5  # the two would take ten seconds each, or more


def test_an_answer_asked_for_after_the_end_comes_to_nothing(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    tiny.create(server, tiny_models[QWEN])
    hangup = Hangup()
    hangup.end()

    with pytest.raises(ServerUnreachable):
        list(Server(server.url).stream(QWEN, " one", options=LONG, hangup=hangup))


def test_a_chat_tells_thought_and_answer_apart(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    ours, name = Server(server.url), tiny.create(server, tiny_models[THINKER])
    options = {"num_ctx": 512, "temperature": 0}

    apart = list(ours.chat(name, "Hello", options=options, think=True))
    mixed = list(ours.chat(name, "Hello", options=options))

    assert "".join(p.thinking for p in apart).split()[0] == "Okay"
    assert "<think>" not in "".join(p.text for p in apart)
    assert "".join(p.text for p in mixed).startswith("<think>")
    for pieces in (apart, mixed):
        done = pieces[-1].done
        assert done
        assert (done.reason, done.eval_count) == ("stop", 22)


def test_thinking_is_refused_for_a_model_that_does_not(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    name = tiny.create(server, tiny_models[QWEN])

    with pytest.raises(ServerRefused, match="does not support thinking") as refused:
        list(Server(server.url).chat(name, "Hello", options=OPTIONS, think=True))

    assert refused.value.details["status"] == 400


class _Prompt(BaseHTTPRequestHandler):
    """Answers at once, with one token."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"response": " a", "done": true, "done_reason": "length", "eval_count": 1}\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def prompt_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Prompt) as scripted:
        threading.Thread(target=scripted.serve_forever, daemon=True).start()
        yield int(scripted.server_address[1])
        scripted.shutdown()


def test_a_request_of_ours_costs_hardly_more_than_a_bare_one(prompt_port: int) -> None:
    """What our client adds counts as time to first token: about 1 ms on a quiet box, 17 ms if each
    request read the certificates anew.
    """
    server = Server(f"http://127.0.0.1:{prompt_port}")

    def ours() -> None:
        list(server.stream("m", "x", options=OPTIONS))

    def bare() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", prompt_port)
        connection.request("POST", "/api/generate", json.dumps({"model": "m"}))
        json.loads(connection.getresponse().read())
        connection.close()

    # In turn, so that a bad spell of the box meets both.
    took = [(_seconds(ours), _seconds(bare)) for _ in range(30)]

    assert statistics.median(a - b for a, b in took) < 0.008


def _seconds(act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started
