"""What a dead runner, a dead server and a want of memory look like, from a real server."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import (
    DeployError,
    OutOfMemory,
    RunnerDied,
    RunnerKilled,
    ServerRefused,
    ServerUnreachable,
    SourceBusy,
    SourceCorrupt,
)
from orchestrator.runtime.binary import Binary
from orchestrator.runtime.runner import runners_of
from orchestrator.server import Server
from orchestrator.server.failures import load_failure, pull_failure
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

TAG = "deepseek-r1:7b"
OPTIONS = {"num_ctx": 2048}
LONG = {**OPTIONS, "num_predict": 2000}
WORDS = "hello world " * 5
DURING_A_PROMPT = r"unexpectedly stopped|encountered while running"


@pytest.fixture
def ours(server: RealServer, tiny_models: dict[str, TinyModel]) -> Server:
    tiny.create(server, tiny_models[TAG])
    return Server(server.url)


@contextmanager
def _struck(server: RealServer, number: signal.Signals) -> Iterator[None]:
    """Signal the first runner that appears, while the block asks for one."""

    def strike() -> None:
        # A child that is not yet the runner shares the server's memory: a signal would end both.
        while not (found := runners_of(server.pid)):
            pass
        os.kill(found[0].pid, number)

    striking = threading.Thread(target=strike)
    striking.start()
    yield
    striking.join()


def _runner(server: RealServer) -> int:
    [runner] = runners_of(server.pid)
    return runner.pid


def test_a_runner_that_is_killed_in_a_load_was_most_likely_out_of_memory(
    server: RealServer, ours: Server
) -> None:
    with (
        _struck(server, signal.SIGKILL),
        pytest.raises(RunnerKilled, match=rf"runner of {TAG} was killed, .*: signal: killed"),
    ):
        ours.load(TAG, options=OPTIONS)


def test_a_runner_that_aborts_in_a_load_died(server: RealServer, ours: Server) -> None:
    with (
        _struck(server, signal.SIGABRT),
        pytest.raises(RunnerDied, match=rf"runner of {TAG} died: .*process has terminated"),
    ):
        ours.load(TAG, options=OPTIONS)


def test_a_runner_that_is_killed_in_mid_answer_died(server: RealServer, ours: Server) -> None:
    stream = ours.stream(TAG, WORDS, options=LONG)
    next(stream)
    os.kill(_runner(server), signal.SIGKILL)

    with pytest.raises(RunnerDied, match=r"died: an error was encountered .*: unexpected EOF"):
        list(stream)


def test_a_runner_that_is_killed_before_the_first_token_died(
    server: RealServer, ours: Server
) -> None:
    ours.load(TAG, options=OPTIONS)
    threading.Timer(0.2, os.kill, (_runner(server), signal.SIGKILL)).start()

    with pytest.raises(RunnerDied, match=DURING_A_PROMPT):
        list(ours.stream(TAG, WORDS * 150, options=LONG))


def test_a_runner_that_is_killed_in_a_chat_died(server: RealServer, ours: Server) -> None:
    # Through /v1 a client cannot ask for a context, and another one would be loaded anew.
    ours.load(TAG)
    threading.Timer(0.2, os.kill, (_runner(server), signal.SIGKILL)).start()

    with pytest.raises(RunnerDied, match=DURING_A_PROMPT):
        ours.chat_completion(TAG, WORDS * 150, max_tokens=2000, timeout_s=60)


def test_a_runner_that_is_killed_while_idle_is_replaced_without_a_word(
    server: RealServer, ours: Server
) -> None:
    ours.load(TAG, options=OPTIONS)
    before = _runner(server)
    os.kill(before, signal.SIGKILL)

    pieces = list(ours.stream(TAG, WORDS, options={**OPTIONS, "num_predict": 2}))

    assert pieces[-1].done
    assert _runner(server) != before


def test_a_stream_that_ends_with_its_server_lost_the_server(
    server: RealServer, ours: Server
) -> None:
    stream = ours.stream(TAG, WORDS, options=LONG)
    next(stream)
    server.kill()

    with pytest.raises(ServerUnreachable, match="lost the Ollama server"):
        list(stream)


def test_a_load_for_which_memory_is_refused_is_out_of_memory(
    runtime_binary: Binary, tiny_models: dict[str, TinyModel], tmp_path: Path
) -> None:
    slots = {
        "OLLAMA_NUM_PARALLEL": "1000"
    }  # one slot cannot have more than the model's own context
    binary, library = runtime_binary.path, runtime_binary.library_path
    with RealServer(binary, library, tmp_path, settings=slots) as server:
        tiny.create(server, tiny_models[TAG])

        with pytest.raises(OutOfMemory, match=r"requires more system memory \(\d+\.\d GiB\)") as e:
            Server(server.url).load(TAG, options={"num_ctx": 131072})

    assert type(e.value) is OutOfMemory


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param(
            "llama-server process has terminated: signal: killed", RunnerKilled, id="newest-killed"
        ),
        pytest.param(
            "llama-server process has terminated: exit status 1: cudaMalloc failed: out of memory",
            OutOfMemory,
            id="what-it-last-said-of-memory-counts",
        ),
        pytest.param(
            "llama runner process has terminated: exit status 2", RunnerDied, id="panic-in-a-load"
        ),
        pytest.param(
            "llama runner process no longer running: -1 ", RunnerDied, id="gone-before-it-answered"
        ),
        pytest.param(
            'do load request: Post "http://127.0.0.1:41183/load": EOF', RunnerDied, id="middle-era"
        ),
        pytest.param(
            "model runner has unexpectedly stopped, this may be due to resource limitations",
            RunnerDied,
            id="before-the-first-token",
        ),
        pytest.param("EOF", ServerRefused, id="a-torn-manifest-is-no-dead-runner"),
        pytest.param("unable to load model: /m/blobs/sha256-1", ServerRefused, id="truncated-file"),
    ],
)
def test_texts_of_other_versions(text: str, kind: type[DeployError]) -> None:
    found = load_failure("qwen3:8b", text)

    assert type(found) is kind
    assert text in found.what


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param(
            "digest mismatch, file must be downloaded again: want sha256:a, got sha256:b",
            SourceCorrupt,
            id="damaged",
        ),
        pytest.param("context canceled", SourceBusy, id="an-earlier-pull-still-ends"),
    ],
)
def test_texts_of_a_pull(text: str, kind: type[DeployError]) -> None:
    assert type(pull_failure("qwen3:8b", text)) is kind
