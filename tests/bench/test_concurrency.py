"""Several users at once on a real server with four slots."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

from orchestrator import schema
from orchestrator.bench.calibration import WORDS, Calibration
from orchestrator.bench.concurrency import Sweep, sweep
from orchestrator.bench.noise import ForeignCpu
from orchestrator.bench.progress import Progress
from orchestrator.bench.request import Target
from orchestrator.bench.workload import Prompts
from orchestrator.errors import RunnerDied, ServerUnreachable
from orchestrator.runtime.binary import Binary
from orchestrator.server import Server
from tests.bench.documents import document
from tests.real import tiny
from tests.real.relay import Relay
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

TAG = "qwen2.5:0.5b"
OPTIONS = {"num_ctx": 512}
_TOKENS = 16
_SLOTS = 4
_LONG_S = 60.0


@pytest.fixture
def four(
    runtime_binary: Binary, tiny_models: dict[str, TinyModel], tmp_path: Path
) -> Iterator[RealServer]:
    """A server with four slots that has the model in its store."""
    settings = {"OLLAMA_NUM_PARALLEL": str(_SLOTS)}
    with _server(runtime_binary, tmp_path, settings) as server:
        tiny.create(server, tiny_models[TAG])
        server.client().close()  # type: ignore[no-untyped-call]
        yield server


def _server(binary: Binary, folder: Path, settings: Mapping[str, str]) -> RealServer:
    return RealServer(binary.path, binary.library_path, folder / "server", settings=settings)


def _sweep(url: str, *levels: int, **changes: Any) -> Sweep:
    calibration = Calibration(words=WORDS[:32], bos_tokens=0, tokens_per_word=1, exact=True)
    base: dict[str, Any] = {
        "prompt_tokens": 16,
        "tokens": _TOKENS,
        "window_s": 1.0,
        "parallel": _SLOTS,
        "seed": 1,
        "noise": ForeignCpu(None),
    }
    target = Target(server=Server(url), model=TAG, options=changes.pop("options", OPTIONS))
    try:
        return sweep(target, Prompts(calibration, 1).draw, levels, **base | changes)
    finally:
        assert [t for t in threading.enumerate() if t.name.startswith("bench-")] == []
        assert _connections(url) == []


def _connections(url: str) -> list[Any]:
    port = int(url.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp")
    return [c for c in found if c.raddr[1:] == (port,)]


def _loaded(server: RealServer) -> str:
    Server(server.url).load(TAG, options=OPTIONS)
    return server.url


def test_users_share_what_the_server_delivers_and_queue_where_slots_are_few(
    four: RealServer,
) -> None:
    told: list[Progress] = []

    found = _full(_loaded(four), 1, 4, 8, noise=ForeignCpu(four.pid), report=told.append)

    one, some, many = found.levels
    assert found.left_out == ()
    assert [level.users for level in found.levels] == [1, 4, 8]
    assert [level.queued for level in found.levels] == [False, False, True]
    for level in found.levels:
        # Whole answers make up the tokens, but for those that the window's two ends cut.
        assert abs(level.tokens - _TOKENS * level.requests) < _TOKENS * min(level.users, _SLOTS)
        assert level.aggregate_tps == pytest.approx(level.tokens / level.window_s)
        assert level.per_user_tps
        assert level.per_user_tps.rejected == 0
    assert one.ttft_s
    assert some.ttft_s
    assert many.ttft_s
    assert many.ttft_s.median > 1.2 * some.ttft_s.median
    # In a closed loop of eight on four slots, everyone waits half of the time.
    assert many.queue_share == pytest.approx(0.5, abs=0.2)
    assert some.queue_share is not None
    assert some.queue_share < 0.25
    assert many.per_user_tps
    assert 8 * many.per_user_tps.median > 1.2 * many.aggregate_tps  # the sum that is never told
    assert {p.stage for p in told} == {"users at once"}
    bench = document(concurrency=[level.to_json() for level in found.levels])
    jsonschema.validate(bench, schema.load("bench"))


def _full(url: str, *levels: int, **changes: Any) -> Sweep:
    """Return a sweep with windows that hold whole requests: two seconds hold dozens, but none
    where others compute, and longer ones do.
    """
    for window_s in (2.0, 8.0, 30.0):
        found = _sweep(url, *levels, window_s=window_s, **changes)
        if found.left_out or all(level.queue_share is not None for level in found.levels):
            return found
    pytest.fail("no whole request within 30 s")


def test_what_was_cancelled_leaves_its_slot_to_the_next(four: RealServer) -> None:
    url, server = _loaded(four), Server(four.url)
    _sweep(url, 8, tokens=480, window_s=0.2)

    sent = time.perf_counter()
    first = next(iter(server.stream(TAG, " one two", options={**OPTIONS, "num_predict": 2})))

    assert first.at_s - sent < 8  # behind eight such answers it would wait twice as long, or more


def test_a_server_that_is_killed_ends_a_level_within_seconds(four: RealServer) -> None:
    url = _loaded(four)
    killed = threading.Timer(1.0, four.kill)
    killed.start()
    started = time.perf_counter()

    with pytest.raises((ServerUnreachable, RunnerDied)):  # the runner may be the first to go
        _sweep(url, 8, window_s=_LONG_S)

    killed.join()
    assert time.perf_counter() - started < 10


def test_levels_that_the_deadline_leaves_no_room_for_are_left_out(four: RealServer) -> None:
    url = _loaded(four)
    deadline = time.perf_counter() + 3.5

    found = _sweep(url, 2, 4, 1, deadline=deadline, window_s=2.0)

    assert time.perf_counter() < deadline + 2
    # On a very slow box not even the first finds its slots busy in time.
    measured = [level.users for level in found.levels]
    assert measured in ([2], [])
    assert len(found.left_out) == 3 - len(measured)
    # They name what a level takes, and what time there is.
    assert [said.partition(": about ")[0] for said in found.left_out[-2:]] == [
        "4 users at once",
        "1 user at once",
    ]
    assert all(said.endswith(" are left") for said in found.left_out[-2:])


def test_slots_that_do_not_fill_in_time_give_no_level(four: RealServer) -> None:
    with Relay(four.port) as relay:
        relay.freeze()
        deadline = time.perf_counter() + 1.5

        found = _sweep(relay.url, 3, deadline=deadline)

        assert time.perf_counter() < deadline + 2
    assert found.levels == ()
    assert found.left_out == ("3 users at once: only 0 of 3 slots gave a token in the time left",)


def test_a_queue_that_is_too_short_is_a_limit_of_the_server(
    runtime_binary: Binary, tiny_models: dict[str, TinyModel], tmp_path: Path
) -> None:
    with _server(runtime_binary, tmp_path, {"OLLAMA_MAX_QUEUE": "1"}) as server:
        tiny.create(server, tiny_models[TAG])
        server.client().close()  # type: ignore[no-untyped-call]

        # The first request loads the model, one waits for it, and the others are refused.
        found = _sweep(server.url, 8, 16, parallel=1)

    assert found.levels == ()
    full, more = found.left_out
    assert full.startswith("8 users at once: ")
    assert "maximum pending requests exceeded" in full
    assert more == "16 users at once: 8 were too many for the server's queue"


def test_answers_without_a_token_are_no_level_and_no_endless_wait(four: RealServer) -> None:
    options = {**OPTIONS, "stop": [" "]}  # every word begins with one

    found = _sweep(four.url, 2, window_s=1.0, options=options)

    assert found.levels == ()
    assert found.left_out == ("2 users at once: no token came within 1 s",)


def test_ctrl_c_ends_users_who_hear_nothing(four: RealServer) -> None:
    with Relay(four.port) as relay:
        relay.freeze()
        interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        # Whoever starts the tests in the background may have SIGINT ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupt.start()
        started = time.perf_counter()

        with pytest.raises(KeyboardInterrupt):
            _sweep(relay.url, 4, window_s=_LONG_S)

        interrupt.join()
        signal.signal(signal.SIGINT, before)
        assert time.perf_counter() - started < 10
