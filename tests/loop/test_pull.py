"""What a registry may answer, through the real server's own puller."""

import json
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import orchestrator.source.download
from orchestrator.errors import ModelUnavailable, SourceBusy, SourceUnreachable
from orchestrator.server import Server
from orchestrator.server.stream import PullStep
from orchestrator.source import Pulled, waits
from orchestrator.source.download import Download
from orchestrator.source.registry import Registry
from orchestrator.source.waits import Waits
from tests.loop.heard import Heard
from tests.real.hub import Fault, Hub
from tests.real.server import RealServer, free_port
from tests.store.slow_registry import BLOBS, MANIFEST


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


@contextmanager
def registry_that_serves(folder: Path, *faults: Fault) -> Iterator[Hub]:
    """A registry with slow:1, of true digests, and these faults before its manifest."""
    folder.mkdir()
    with Hub(folder) as hub:
        hub.manifests["/v2/library/slow/manifests/1"] = json.dumps(MANIFEST).encode()
        for digest, content in BLOBS.items():
            hub.blobs[digest] = folder / digest[7:]
            hub.blobs[digest].write_bytes(content)
        hub.faults += [*faults, Fault("/blobs/", headers={"Location": "#"})]
        yield hub


def _manifests_asked(hub: Hub) -> int:
    return sum("/manifests/" in asked.path for asked in hub.asked)


def test_a_busy_registry_is_asked_again_when_it_wishes_it(
    server: RealServer, tmp_path: Path
) -> None:
    heard, begun = Heard(), time.monotonic()
    busy = Fault("/manifests/", status=429, headers={"Retry-After": "2"}, times=2)
    with registry_that_serves(tmp_path / "hub", busy) as hub:
        Registry(Server(server.url), hub.url).pull("slow:1", heard)

    assert 2 <= time.monotonic() - begun < 12
    assert _manifests_asked(hub) == 3  # by the server, by us for the wish, and at its time
    assert sum("asks for 2.0 s; again in 2.0 s" in line for line in heard.lines) == 1
    assert Server(server.url).find("slow:1")


def test_no_wish_is_followed_for_ever(
    server: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_LONGEST_WAIT_S", 0.4)
    monkeypatch.setattr(waits, "_TOLD_S", 1.0)
    heard = Heard()
    busy = Fault("/manifests/", status=503, headers={"Retry-After": "7200"})
    with (
        registry_that_serves(tmp_path / "hub", busy) as hub,
        pytest.raises(SourceBusy) as e,
    ):
        Registry(Server(server.url), hub.url).pull("slow:1", heard)

    assert sum("asks for 2 h 00 min; again in 400 ms" in line for line in heard.lines) == 2
    assert e.value.details["retry_after_s"] == 7200


def test_a_busy_registry_that_wishes_nothing_is_asked_again_and_its_last_word_counts(
    server: RealServer,
) -> None:
    heard = Heard()
    with registry_answering(503, 429, 503, 429) as (url, given), pytest.raises(ModelUnavailable):
        Registry(Server(server.url), url).pull("qwen3:0.6b", heard)
    assert given == [503, 429, 503, 429, 404]  # every second one is ours
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

    with pytest.raises(SourceUnreachable, match="no byte from a registry for") as e:
        Download("qwen3:0.6b", "a registry", Heard(), stall_s=0.5).follow(steps)

    assert e.value.details == {"cause": "line", "done_bytes": 80 * 10**6, "total_bytes": 10**8}
    assert next(steps, None) is None  # it is closed, and so the server stops downloading


def _shown(heard: Heard) -> list[int]:
    return [int(line.split()[-2]) for line in heard.lines]


def _broken(reports: Iterable[PullStep], *, cause: str = "line") -> Generator[PullStep, None, None]:
    yield from reports
    raise SourceUnreachable("a line broke", cause=cause)


def test_what_is_shown_of_a_file_never_falls_not_even_from_one_try_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orchestrator.source.download, "_SHOW_S", 0)
    heard = Heard()
    download = Download("qwen3:0.6b", "a registry", heard, stall_s=9)
    there = _step(10, "sha256:cached", total=10)
    with pytest.raises(SourceUnreachable):
        download.follow(_broken([there, *map(_step, [0, 30, 60, 20])]))
    assert download.gained_bytes == 60

    pulled = download.follow(_paced([there, *map(_step, [40, 50, 90, 100])], pause_s=0.0))

    assert download.gained_bytes == 40
    assert pulled.cached == ("sha256:cached",)
    assert pulled.fetched_bytes == 60 + 20 + 60  # what moved, twice too
    weights = [int(line.split()[-2]) for line in heard.lines if "model" in line]
    assert weights == sorted(weights)
    assert weights[-1] == 100


def test_a_report_every_60_ms_is_shown_five_times_a_second_and_at_its_end() -> None:
    heard, ended = Heard(), 100
    steps = _paced(map(_step, [*range(0, 100, 10), ended]), pause_s=0.06)

    Download("qwen3:0.6b", "a registry", heard, stall_s=9).follow(steps)

    assert 3 <= len(heard.lines) <= 6
    assert _shown(heard)[-1] == ended


def test_a_file_that_is_fetched_once_more_has_a_bar_of_its_own() -> None:
    heard = Heard()
    download = Download("qwen3:0.6b", "a registry", heard, stall_s=9)
    with pytest.raises(SourceUnreachable):
        download.follow(_broken(map(_step, [0, 100])))

    download.begin_anew()
    download.follow(_paced(map(_step, [0, 100]), pause_s=0.0))

    assert heard.lines[-2:] == [
        "pull qwen3:0.6b again model 0 100",
        "pull qwen3:0.6b again model 100 100",
    ]


def test_hashing_takes_as_long_as_it_takes() -> None:
    hashing = PullStep(
        status="verifying sha256 digest", digest=None, total_bytes=None, completed_bytes=None
    )
    assert _follow([_step(100), *[hashing] * 10], pause_s=0.1, stall_s=0.5).fetched_bytes == 0


def _tries(brings: Iterable[int], *, cause: str = "line") -> int:
    """Break a download again and again, each time at so many bytes; return how often it began."""
    heard, left, tries = Heard(), iter(brings), 0
    download = Download("qwen3:0.6b", "a registry", heard, stall_s=9)

    def once() -> Pulled:
        nonlocal tries
        tries += 1
        reached = next(left)
        return download.follow(_broken([_step(0), _step(reached)], cause=cause))

    retrying = Waits(download, heard, lambda: None).retrying()
    retrying.sleep = lambda _: None
    with pytest.raises(SourceUnreachable):
        retrying(once)
    return tries


def test_a_line_that_breaks_is_taken_up_again_while_each_try_gets_further() -> None:
    assert _tries([10, 20, 30, 30, 40]) == 4
    assert _tries([10, 20, 15, 40]) == 3
    assert _tries([0, 10]) == 1


def test_a_line_that_breaks_again_and_again_is_given_up() -> None:
    assert _tries(range(1, 100)) <= 9


def test_a_line_that_breaks_at_the_manifest_is_tried_some_times_more() -> None:
    heard, tries = Heard(), 0
    download = Download("qwen3:0.6b", "a registry", heard, stall_s=9)

    def once() -> Pulled:
        nonlocal tries
        tries += 1
        return download.follow(_paced([_step(100)], pause_s=0) if tries == 4 else _broken([]))

    retrying = Waits(download, heard, lambda: None).retrying()
    retrying.sleep = lambda _: None

    assert retrying(once).cached == ("sha256:model",)
    with pytest.raises(SourceUnreachable):
        retrying(lambda: download.follow(_broken([])))


@pytest.mark.parametrize("cause", ["dns", "proxy", "tls", "portal", "refused"])
def test_what_waiting_does_not_cure_is_not_tried_again(cause: str) -> None:
    assert _tries([10, 20], cause=cause) == 1
