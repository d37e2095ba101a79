"""A registry that goes away, stalls, lies, or is left: through the real server's own puller."""

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import (
    ServerUnreachable,
    SourceCorrupt,
    SourceUnreachable,
    Terminated,
)
from orchestrator.model import ModelRef
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.missing import missing
from orchestrator.source.registry import Registry as Source
from orchestrator.store import Store
from tests.loop.heard import Heard
from tests.real.registry import Registry
from tests.real.relay import Relay
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

TAG = "deepseek-r1:7b"  # 33 MB: the largest of the tiny ones
MB = 10**6
RATE, FASTER = 12 * MB, 60 * MB
SHORT_S = 4.0


@pytest.fixture
def relay(registry: Registry) -> Iterator[Relay]:
    with Relay(registry.port) as relay:
        yield relay


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def _pull(
    background: ThreadPoolExecutor, server: RealServer, relay: Relay, *, stall_s: float = SHORT_S
) -> Future[Pulled]:
    """Begin a slow pull, and return when a third of it is there."""
    source = Source(Server(server.url), relay.url, stall_s=stall_s)
    relay.bytes_per_s = RATE
    pulling = background.submit(source.pull, TAG, Heard())
    relay.wait_for(12 * MB)
    return pulling


def _names(server: RealServer) -> set[str]:
    return {m.name for m in Server(server.url).installed()}


def _fetched_twice(relay: Relay, size: int) -> int:
    """Return by how much the ranges that were asked for overlap what had come before them."""
    model = [(first, last) for first, last in relay.ranges if last == size - 1]
    assert len(model) > 1
    assert model[0][0] == 0
    return relay.sent_bytes - size


def test_a_registry_that_comes_back_is_gone_on_with(
    server: RealServer,
    relay: Relay,
    tiny_models: dict[str, TinyModel],
    background: ThreadPoolExecutor,
) -> None:
    pulling = _pull(background, server, relay)
    relay.refuse()
    time.sleep(2)
    relay.restore()

    pulled = pulling.result()

    size = tiny_models[TAG].path.stat().st_size
    assert _names(server) == {TAG}
    assert _fetched_twice(relay, size) < 3 * MB  # what was under way, and the small files
    assert pulled.cached == ()
    assert pulled.fetched_bytes == pytest.approx(size, abs=3 * MB)


@pytest.mark.parametrize("fault", [Relay.refuse, Relay.freeze], ids=["refused", "open-but-silent"])
def test_a_registry_that_is_gone_for_good_ends_the_pull_and_the_next_one_goes_on(
    server: RealServer,
    relay: Relay,
    tiny_models: dict[str, TinyModel],
    background: ThreadPoolExecutor,
    fault: Callable[[Relay], None],
) -> None:
    pulling = _pull(background, server, relay)
    fault(relay)
    begun = time.monotonic()

    with pytest.raises(SourceUnreachable) as e:
        pulling.result()

    # It had come further, so it was asked once more: then it refuses, or says nothing again.
    assert SHORT_S - 1 < time.monotonic() - begun < 4 * SHORT_S
    assert TAG in e.value.what
    assert "of 33 MB are here and kept: the next run goes on from there" in e.value.what
    assert 8 * MB < e.value.details["done_bytes"] < 20 * MB
    relay.cut()
    relay.restore()
    relay.bytes_per_s = FASTER
    pulled = Source(Server(server.url), relay.url).pull(TAG, Heard())
    size = tiny_models[TAG].path.stat().st_size
    assert _names(server) == {TAG}
    assert pulled.fetched_bytes < size - 8 * MB


@pytest.mark.soak
def test_a_minute_is_enough_to_know_that_it_is_gone(
    server: RealServer, relay: Relay, background: ThreadPoolExecutor
) -> None:
    source = Source(Server(server.url), relay.url)
    relay.bytes_per_s = RATE
    pulling = background.submit(source.pull, TAG, Heard())
    relay.wait_for(12 * MB)
    relay.refuse()
    begun = time.monotonic()

    with pytest.raises(SourceUnreachable, match=r"MB of 33 MB are here and kept"):
        pulling.result()

    assert 40 < time.monotonic() - begun < 60


def test_a_registry_that_never_says_a_word_is_unreachable(server: RealServer, relay: Relay) -> None:
    relay.freeze()
    begun = time.monotonic()

    with pytest.raises(SourceUnreachable, match="nothing heard from its registry for 1 s"):
        Source(Server(server.url), relay.url, stall_s=1).pull(TAG, Heard())

    assert time.monotonic() - begun < 10
    assert _names(server) == set()


def test_a_server_that_falls_silent_is_not_taken_for_its_registry(
    server: RealServer, relay: Relay, background: ThreadPoolExecutor
) -> None:
    pulling = _pull(background, server, relay, stall_s=1)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServerUnreachable, match="gave no answer to /api/version"):
            pulling.result()
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_who_leaves_a_pull_comes_back_to_what_is_there(
    server: RealServer, relay: Relay, tiny_models: dict[str, TinyModel]
) -> None:
    relay.bytes_per_s = RATE
    remote = ModelRef.parse(TAG).at(f"127.0.0.1:{relay.port}")
    done = 0
    with contextlib.closing(Server(server.url).pull(str(remote), insecure=True)) as steps:
        for step in steps:
            done = step.completed_bytes or 0
            if done > 10 * MB:
                break
    relay.bytes_per_s = FASTER
    time.sleep(0.5)  # the server notes how far it got when it sees that nobody listens

    pulled = Source(Server(server.url), relay.url).pull(TAG, Heard())

    size = tiny_models[TAG].path.stat().st_size
    assert _names(server) == {TAG}
    assert relay.ranges[1][0] >= done
    assert pulled.fetched_bytes <= size - done


def test_a_line_that_is_dead_for_a_while_is_taken_up_again_in_the_same_pull(
    server: RealServer,
    relay: Relay,
    tiny_models: dict[str, TinyModel],
    background: ThreadPoolExecutor,
) -> None:
    heard = Heard()
    source = Source(Server(server.url), relay.url, stall_s=2)
    relay.bytes_per_s = RATE
    pulling = background.submit(source.pull, TAG, heard)
    relay.wait_for(12 * MB)
    relay.freeze()
    while not any("again in" in line for line in heard.lines):
        time.sleep(0.05)
    relay.cut()
    relay.restore()
    relay.bytes_per_s = FASTER

    pulled = pulling.result()

    size = tiny_models[TAG].path.stat().st_size
    assert _names(server) == {TAG}
    assert _fetched_twice(relay, size) < 3 * MB
    assert pulled.fetched_bytes == pytest.approx(size, abs=3 * MB)


@pytest.mark.parametrize(
    "stopped",
    [
        pytest.param(KeyboardInterrupt(), id="ctrl-c"),
        pytest.param(Terminated("terminated by SIGTERM"), id="sigterm", marks=pytest.mark.soak),
    ],
)
def test_who_interrupts_a_pull_hears_what_is_kept_and_the_download_ends(
    server: RealServer,
    relay: Relay,
    tiny_models: dict[str, TinyModel],
    stopped: BaseException,
) -> None:
    class Stops(Heard):
        def advance(self, label: str, done: int, total: int | None) -> None:
            super().advance(label, done, total)
            if done > 10 * MB:
                raise stopped

    heard = Stops()
    relay.bytes_per_s = RATE

    with pytest.raises(type(stopped)):
        Source(Server(server.url), relay.url).pull(TAG, heard)

    assert re.fullmatch(
        rf"1\d MB of 33 MB of {TAG} are kept: run the same again, and it goes on from there",
        heard.lines[-1],
    )
    time.sleep(0.5)
    sent = relay.sent_bytes
    time.sleep(0.5)
    assert relay.sent_bytes == sent
    relay.bytes_per_s = FASTER
    Source(Server(server.url), relay.url).pull(TAG, Heard())
    assert _fetched_twice(relay, tiny_models[TAG].path.stat().st_size) < 3 * MB


def test_a_pull_outlives_the_server_that_was_killed_in_it(
    server: RealServer, relay: Relay, background: ThreadPoolExecutor
) -> None:
    pulling = _pull(background, server, relay)
    server.kill()
    with pytest.raises(ServerUnreachable, match="lost the Ollama server"):
        pulling.result()
    server.start()
    relay.bytes_per_s = None

    Source(Server(server.url), relay.url).pull(TAG, Heard())

    assert _names(server) == {TAG}


def _left_at_a_third(server: RealServer, relay: Relay) -> None:
    """Pull a third, and leave as a client does that is interrupted."""
    relay.bytes_per_s = RATE
    remote = ModelRef.parse(TAG).at(f"127.0.0.1:{relay.port}")
    with contextlib.closing(Server(server.url).pull(str(remote), insecure=True)) as steps:
        next(step for step in steps if (step.completed_bytes or 0) > 10 * MB)
    relay.bytes_per_s = FASTER


def _goes_on(server: RealServer, relay: Relay, size: int) -> int:
    """Pull to the end; return how many bytes that took, the small files and the manifest too."""
    before = relay.sent_bytes
    pulled = Source(Server(server.url), relay.url).pull(TAG, Heard())
    assert _names(server) == {TAG}
    assert pulled.fetched_bytes <= size + MB
    return relay.sent_bytes - before


def test_a_server_that_ends_after_its_client_left_fetches_the_rest_alone_as_was_foretold(
    server: RealServer, relay: Relay, tiny_models: dict[str, TinyModel]
) -> None:
    store, size = Store(server.models), tiny_models[TAG].path.stat().st_size
    files = Source(Server(server.url), relay.url).registered(TAG).every
    before = missing(store, files)
    _left_at_a_third(server, relay)
    time.sleep(1)  # the server notes how far it got when it sees that nobody listens
    server.stop()
    server.start()
    between = missing(store, files)
    fetched = _goes_on(server, relay, size)

    assert before.line_bytes == before.disk_bytes == before.total_bytes
    assert 0 <= before.total_bytes - size < 100_000
    assert between.present_bytes > 10 * MB
    assert between.line_bytes <= fetched < between.line_bytes + MB
    assert between.disk_bytes <= between.line_bytes
    assert missing(store, files).disk_bytes == 0


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)]
)
def test_a_server_that_is_ended_in_a_pull_fetches_no_more_than_the_parts_under_way_again(
    server: RealServer,
    relay: Relay,
    tiny_models: dict[str, TinyModel],
    background: ThreadPoolExecutor,
    number: signal.Signals,
) -> None:
    size = tiny_models[TAG].path.stat().st_size
    pulling = _pull(background, server, relay)
    os.kill(server.pid, number)
    with pytest.raises(ServerUnreachable):
        pulling.result()
    server.stop()
    server.start()
    relay.bytes_per_s = FASTER

    # The file is one part of at most 100 MB, and a part is noted when it ends.
    assert size - MB < _goes_on(server, relay, size) < size + 3 * MB


@pytest.mark.soak
def test_a_server_that_prunes_when_it_starts_fetches_everything_again(
    server: RealServer, relay: Relay, tiny_models: dict[str, TinyModel]
) -> None:
    size = tiny_models[TAG].path.stat().st_size
    _left_at_a_third(server, relay)
    time.sleep(1)
    server.stop()
    server.settings["OLLAMA_NOPRUNE"] = ""
    server.start()

    assert _goes_on(server, relay, size) > size - MB


@pytest.mark.parametrize("copied", [False, True], ids=["alone", "beside-the-plain-name"])
def test_a_remote_name_that_was_there_before_stays_with_whoever_uses_it(
    server: RealServer, registry: Registry, tiny_models: dict[str, TinyModel], copied: bool
) -> None:
    ours = Server(server.url)
    remote = str(ModelRef.parse(TAG).at(registry.host))
    list(ours.pull(remote, insecure=True))
    if copied:
        ours.copy(remote, TAG)

    pulled = Source(ours, registry.url).pull(TAG, Heard())

    assert _names(server) == {TAG, remote}  # a leftover of ours the loop knows from its ledger
    assert tiny_models[TAG].digest in pulled.cached
    assert pulled.fetched_bytes == 0


@pytest.fixture
def damaged(
    registry: Registry, tmp_path: Path, tiny_models: dict[str, TinyModel]
) -> Iterator[Registry]:
    """A registry of its own storage, in which one byte of one model is another."""
    storage = tmp_path / "storage"
    shutil.copytree(registry.storage, storage)
    with Registry(tmp_path, storage) as damaged:
        _flip(damaged, tiny_models["qwen2.5:0.5b"].digest)
        yield damaged
    shutil.rmtree(storage)


def _flip(registry: Registry, digest: str) -> None:
    value = digest.removeprefix("sha256:")
    data = registry.storage / f"docker/registry/v2/blobs/sha256/{value[:2]}/{value}/data"
    with data.open("r+b") as file:
        file.seek(4_000_000)
        [byte] = file.read(1)
        file.seek(4_000_000)
        file.write(bytes([byte ^ 1]))


def test_damaged_bytes_are_fetched_once_more_and_then_the_source_is_to_blame(
    server: RealServer, damaged: Registry, tiny_models: dict[str, TinyModel]
) -> None:
    heard, digest = Heard(), tiny_models["qwen2.5:0.5b"].digest

    with pytest.raises(SourceCorrupt, match=f"is damaged: .*want {digest}, got sha256:") as e:
        Source(Server(server.url), damaged.url).pull("qwen2.5:0.5b", heard)

    assert "qwen2.5:0.5b" in e.value.what
    assert sum("once more" in line for line in heard.lines) == 1
    fetched = [r for r in damaged.requests() if digest in r.path and r.status == 206]
    assert len(fetched) == 2
    assert _names(server) == set()
    assert not (server.models / "blobs" / digest.replace(":", "-")).exists()


def test_bytes_that_are_whole_the_second_time_are_a_success(
    server: RealServer, damaged: Registry, tiny_models: dict[str, TinyModel]
) -> None:
    digest = tiny_models["qwen2.5:0.5b"].digest

    class Repairs(Heard):
        def say(self, text: str) -> None:
            super().say(text)
            if "once more" in text:
                _flip(damaged, digest)

    Source(Server(server.url), damaged.url).pull("qwen2.5:0.5b", Repairs())

    assert _names(server) == {"qwen2.5:0.5b"}
