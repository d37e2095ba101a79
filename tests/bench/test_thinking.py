"""Chats of thinking models on a real server, whose stand-ins think seven words and answer."""

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema
import pytest

from orchestrator import schema
from orchestrator.bench.thinking import Chat, Thinking, think
from orchestrator.server import Piece, Server, wire
from tests.bench.documents import document
from tests.real import tiny
from tests.real.relay import Relay
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

OPTIONS = {"num_ctx": 512}


class Recorded(Server):
    """The true server, and what was asked of it."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.asked: list[str] = []
        self.options: list[Mapping[str, object]] = []

    def chat(
        self, model: str, text: str, *, options: Mapping[str, object], **more: Any
    ) -> Iterator[Piece]:
        self.asked.append(text)
        self.options.append(options)
        return super().chat(model, text, options=options, **more)


def _think(server: Server, model: str, *, seed: int = 1, **changes: Any) -> Thinking | None:
    base: dict[str, Any] = {"samples": 3, "max_tokens": 64, "rng": random.Random(seed)}
    return think(server, model, OPTIONS, **base | changes)


@pytest.mark.parametrize("tag", ["qwen3:0.6b", "deepseek-r1:1.5b"])
def test_the_first_thought_and_the_first_answer_are_told_apart(
    server: RealServer, tiny_models: dict[str, TinyModel], tag: str
) -> None:
    found = _think(Server(server.url), tiny.create(server, tiny_models[tag]))

    assert found
    assert len(found.samples) == 3
    for chat in found.samples:
        assert chat.ttft_s
        assert chat.first_answer_s
        assert 0 < chat.ttft_s < chat.first_answer_s < chat.wall_s
        assert chat.tokens == 22  # <think>, 7 words, </think>, 11 words and breaks, the end
    bench = document(thinking=found.to_json())
    jsonschema.validate(bench, schema.load("bench"))
    assert bench["thinking"]["first_answer_s"]["n"] == 3


def test_a_thought_that_fills_the_tokens_has_no_answer(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    name = tiny.create(server, tiny_models["qwen3:0.6b"])

    found = _think(Server(server.url), name, samples=2, max_tokens=4)

    assert found
    assert [(c.first_answer_s, c.tokens) for c in found.samples] == [(None, 4)] * 2
    assert found.first_answer_s is None
    assert found.ttft_s
    assert found.ttft_s.n == 2


def test_questions_differ_and_their_seed_gives_them_again(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    ours, name = Recorded(server.url), tiny.create(server, tiny_models["qwen3:0.6b"])

    first = _think(ours, name, seed=1, max_tokens=4)
    again = _think(ours, name, seed=1, max_tokens=4)
    other = _think(ours, name, seed=2, max_tokens=4)

    assert first
    assert again
    assert other
    a, b, c = ours.asked[:4], ours.asked[4:8], ours.asked[8:]  # one before the three that count
    assert a == b
    assert len({*a, *c}) == 8
    assert first.seed == again.seed != other.seed
    assert {o["temperature"] for o in ours.options} == {0}
    assert {o["num_ctx"] for o in ours.options} == {512}


def test_a_model_that_does_not_think_is_not_asked(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    ours, name = Recorded(server.url), tiny.create(server, tiny_models["qwen2.5:0.5b"])

    assert _think(ours, name) is None
    assert _think(ours, "absent:latest") is None
    assert ours.asked == []


def test_a_server_that_knows_no_thinking_is_not_asked(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    """A scripted server gives a true answer without `capabilities`, as those before 0.6.4 do."""
    name = tiny.create(server, tiny_models["qwen3:0.6b"])
    answer = wire.request(server.url, "POST", "/api/show", {"model": name}, timeout_s=30)
    assert "thinking" in answer.pop("capabilities")

    with _answering(answer) as (url, paths):
        assert _think(Server(url), name) is None

    assert paths == ["/api/show"]


@contextmanager
def _answering(answer: Any) -> Iterator[tuple[str, list[str]]]:
    """Answer every request with one document; yields the address and the paths asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as old:
        threading.Thread(target=old.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{old.server_address[1]}", paths
        old.shutdown()


def test_the_deadline_ends_the_chats_with_what_there_is(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    ours, name = Server(server.url), tiny.create(server, tiny_models["qwen3:0.6b"])
    ours.load(name, options=OPTIONS)
    deadline = time.perf_counter() + 1.5

    found = _think(ours, name, samples=10_000, deadline=deadline)

    assert time.perf_counter() < deadline + 2
    assert found
    assert all(c.tokens == 22 for c in found.samples)  # one that was cut short is no sample


def test_an_answer_that_the_deadline_cuts_is_no_sample(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    tiny.create(server, tiny_models["qwen3:0.6b"])
    # Not by its family's template: after a plain word a stand-in speaks for ever.
    thought = "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"
    endless = "{{ range .Messages }}" + thought + "{{ .Content }}{{ end }} the"
    server.client().create("endless", from_="qwen3:0.6b", template=endless)
    ours = Recorded(server.url)
    deadline = time.perf_counter() + 3

    found = _think(ours, "endless", samples=1, max_tokens=100_000, deadline=deadline)

    assert time.perf_counter() < deadline + 2
    assert found
    assert found.samples == ()
    assert len(ours.asked) == 2


def test_a_server_silent_until_the_deadline_is_not_lost(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    name = tiny.create(server, tiny_models["qwen3:0.6b"])
    Server(server.url).load(name, options=OPTIONS)

    with Relay(server.port) as relay:

        class Silent(Recorded):
            def chat(self, *model_and_text: str, **more: Any) -> Iterator[Piece]:
                relay.freeze()
                return super().chat(*model_and_text, **more)

        deadline = time.perf_counter() + 1.2
        found = _think(Silent(relay.url), name, samples=1, deadline=deadline)

        assert time.perf_counter() < deadline + 2
    assert found
    assert found.samples == ()


def test_a_deadline_that_has_passed_asks_nothing(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    ours, name = Recorded(server.url), tiny.create(server, tiny_models["qwen3:0.6b"])

    found = _think(ours, name, deadline=time.perf_counter())

    assert found
    assert (found.samples, found.ttft_s, found.first_answer_s) == ((), None, None)
    assert ours.asked == []


def test_chats_without_an_answer_are_counted_beside_the_median() -> None:
    chats = [Chat(ttft_s=0.1, first_answer_s=a, tokens=9, wall_s=9.0) for a in (3.0, None, 5.0)]

    found = Thinking(max_tokens=9, seed=1, samples=tuple(chats)).first_answer_s

    assert found
    assert (found.median, found.n, found.rejected) == (4.0, 2, 1)
