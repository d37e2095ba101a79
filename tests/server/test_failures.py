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
    DiskFull,
    InvalidInput,
    ModelUnavailable,
    OutOfMemory,
    PullFailed,
    RunnerDied,
    RunnerKilled,
    ServerRefused,
    ServerUnreachable,
    SourceBusy,
    SourceCorrupt,
    SourceUnreachable,
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


_MANIFEST = "pull model manifest: "
_ASKED = f'{_MANIFEST}Get "https://registry.ollama.ai/v2/library/qwen3/manifests/8b": '
_HF = '400: {"error":"'


@pytest.mark.parametrize(
    ("text", "kind", "cause", "hint"),
    [
        pytest.param(
            "digest mismatch, file must be downloaded again: want sha256:a, got sha256:b",
            SourceCorrupt, None, "another registry", id="damaged",
        ),
        pytest.param(
            "write /m/blobs/sha256-1-partial: no space left on device",
            DiskFull, None, "free space", id="disk-full",
        ),
        pytest.param(
            "max retries exceeded: write /m/blobs/sha256-1-partial-0: no space left on device",
            DiskFull, None, "free space", id="disk-full-inside-another",
        ),
        pytest.param("invalid model name", InvalidInput, None, "HOST/ORG/NAME:TAG", id="name"),
        pytest.param(
            "context canceled", SourceBusy, "ending", "repeat", id="an-earlier-pull-still-ends"
        ),
        pytest.param(f"{_MANIFEST}503: ", SourceBusy, "busy", "repeat", id="503"),
        pytest.param(f"{_MANIFEST}429: slow down", SourceBusy, "busy", "repeat", id="429"),
        pytest.param(
            f"{_MANIFEST}file does not exist", ModelUnavailable, "absent", "registry", id="404"
        ),
        pytest.param(
            f"{_MANIFEST}{_HF}The specified tag is not available in the repository. Please use"
            ' another tag or \\"latest\\""}',
            ModelUnavailable, "quantization", "quantization that it has", id="hf-no-such-tag",
        ),
        pytest.param(
            f"{_MANIFEST}{_HF}The specified tag is a sharded GGUF. Ollama does not support this"
            ' yet. Follow this issue: https://github.com/ollama/ollama/issues/5245"}',
            ModelUnavailable, "sharded", "deploy pull hf:ORG/REPO", id="hf-sharded",
        ),
        pytest.param(
            f'{_MANIFEST}{_HF}Repository is not GGUF or is not compatible with llama.cpp"}}',
            ModelUnavailable, "no-gguf", "deploy pull hf:ORG/REPO", id="hf-no-gguf",
        ),
        pytest.param(
            f"{_MANIFEST}412: \n\nThe model you are pulling requires a newer version of Ollama.\n",
            ModelUnavailable, "server-too-old", "deploy runtime install", id="server-too-old",
        ),
        pytest.param(
            "unauthorized: access denied", ModelUnavailable, "login", "id_ed25519.pub", id="login"
        ),
        pytest.param(
            f'{_MANIFEST}401: {{"error":"Invalid username or password."}}',
            ModelUnavailable, "login", "spelled", id="hf-no-such-repository",
        ),
        pytest.param(
            f"{_ASKED}http: server gave HTTP response to HTTPS client",
            PullFailed, "plain-http", "--registry http://registry.ollama.ai", id="plain-http",
        ),
        pytest.param(
            "http: no Location header in response",
            PullFailed, "no-redirect", "docker-registry", id="registry-without-redirect",
        ),
        pytest.param(
            "unexpected status code 302", PullFailed, "no-redirect", "307", id="other-redirect"
        ),
        pytest.param(
            f"{_ASKED}dial tcp: lookup registry.ollama.ai on 127.0.0.53:53: no such host",
            SourceUnreachable, "dns", "registry.ollama.ai", id="no-such-host",
        ),
        pytest.param(
            'max retries exceeded: Get "https://cdn.example/x?Signature=abc": dial tcp: lookup '
            "cdn.example: no such host",
            SourceUnreachable, "dns", "cdn.example", id="no-such-host-of-a-redirect",
        ),
        pytest.param(
            f"{_ASKED}proxyconnect tcp: dial tcp: lookup proxy.corp: no such host",
            SourceUnreachable, "proxy", "systemctl edit ollama", id="proxy-without-address",
        ),
        pytest.param(
            f"{_ASKED}Proxy Authentication Required",
            SourceUnreachable, "proxy", "systemctl edit ollama", id="proxy-wants-a-login",
        ),
        pytest.param(
            f"{_ASKED}tls: failed to verify certificate: x509: certificate signed by unknown"
            " authority",
            SourceUnreachable, "tls", "SSL_CERT_FILE", id="certificate-of-a-proxy",
        ),
        pytest.param(
            f"{_ASKED}tls: failed to verify certificate: x509: certificate has expired or is not"
            " yet valid: current time 2019-01-01T00:00:00Z is before 2025-01-01T00:00:00Z",
            SourceUnreachable, "tls", "clock", id="wrong-clock",
        ),
        pytest.param(
            f"{_MANIFEST}invalid character '<' looking for beginning of value",
            SourceUnreachable, "portal", "browser", id="captive-portal",
        ),
        pytest.param(
            f"{_ASKED}dial tcp 127.0.0.1:1: connect: connection refused",
            SourceUnreachable, "refused", "check the address", id="refused",
        ),
        pytest.param(f"{_MANIFEST}502: ", SourceUnreachable, "gateway", "registry", id="502"),
        *(
            pytest.param(text, SourceUnreachable, "line", "is kept", id=text.rpartition(": ")[2])
            for text in (
                "max retries exceeded: EOF",
                f"{_ASKED}net/http: TLS handshake timeout",
                f"{_ASKED}dial tcp 1.2.3.4:443: i/o timeout",
                f"{_ASKED}context deadline exceeded",
                "read tcp 10.0.0.1:5->1.2.3.4:443: read: connection reset by peer",
                "unexpected EOF",
            )
        ),
    ],
)  # fmt: skip
def test_texts_of_a_pull(text: str, kind: type[DeployError], cause: str | None, hint: str) -> None:
    found = pull_failure("qwen3:8b", text)

    assert type(found) is kind
    assert found.details.get("cause") == cause
    assert hint in found.hint
    assert "qwen3:8b" in found.what


def test_what_no_table_knows_is_said_as_the_server_said_it() -> None:
    found = pull_failure("qwen3:8b", "a new kind of trouble")

    assert type(found) is PullFailed
    assert found.what == "pulling qwen3:8b: a new kind of trouble"


def test_a_signed_address_is_not_repeated() -> None:
    text = 'Get "https://cdn.example/blob?X-Signature=s3cr3t&X-Date=1": connection reset by peer'

    found = pull_failure("qwen3:8b", text)

    assert 'Get "https://cdn.example/blob?…"' in found.what
    assert "s3cr3t" not in found.what
