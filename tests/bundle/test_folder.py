"""The source `bundle`."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.bundle.create import create
from orchestrator.bundle.folder import Bundles
from orchestrator.cli.terminal import Plain
from orchestrator.errors import InvalidInput, ModelUnavailable, SourceUnreachable
from orchestrator.server import Server
from orchestrator.store import Store
from tests.bundle.conftest import NAME, OTHER, Box, put

Made = Callable[[Path, Box], Bundles]


class Listing(HTTPServer):
    """Answers /api/tags with what is in a store, as a server of that store does."""

    def __init__(self, store: Path) -> None:
        self.store = store
        super().__init__(("127.0.0.1", 0), _Tags)


class _Tags(BaseHTTPRequestHandler):
    server: Listing

    def do_GET(self) -> None:
        store = Store.at(str(self.server.store))
        found = store.names() if store else {}
        models = [{"name": n, "digest": m.digest, "size": 1} for n, m in found.items()]
        raw = json.dumps({"models": models}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bundles(target: Box) -> Iterator[Made]:
    listing = Listing(target.models)
    thread = threading.Thread(target=listing.serve_forever)
    thread.start()
    server = Server(f"http://127.0.0.1:{listing.server_port}")
    yield lambda folder, there: Bundles(folder, server, str(there.models))
    listing.shutdown()
    thread.join()
    listing.server_close()


@pytest.fixture
def folder(source: Box) -> Path:
    made = source.folder / "bundles"
    made.mkdir()
    for name in (NAME, OTHER):
        file = made / f"{name.partition(':')[0].replace('/', '-')}.tar"
        create((name,), file, source.home, source.environ, Plain())
    (made / "notes.txt").write_text("no bundle")
    (made / "half.tar.part").write_bytes(b"half")
    return made


def test_the_one_model_that_is_asked_for_is_loaded(
    bundles: Made, folder: Path, source: Box, target: Box
) -> None:
    pulled = bundles(folder, target).pull(OTHER, Plain())

    assert set(target.store.names()) == {OTHER}
    assert pulled.cached == ()
    assert pulled.fetched_bytes == sum(
        layer.size_bytes for layer in source.store.names()[OTHER].layers
    )
    assert bundles(folder, target).pull(OTHER.upper(), Plain()).fetched_bytes == 0


def test_the_newest_bundle_of_a_tag_wins(
    bundles: Made, folder: Path, source: Box, target: Box
) -> None:
    newer = put(source.models, NAME, b"newer")
    file = folder / "a-second.tar"
    create((NAME,), file, source.home, source.environ, Plain())
    os.utime(file, (2**31, 2**31))

    bundles(folder, target).pull(NAME, Plain())

    assert target.store.names()[NAME].digest == newer


def test_a_tag_that_no_bundle_has_is_unavailable_with_what_to_do(
    bundles: Made, folder: Path, target: Box
) -> None:
    with pytest.raises(ModelUnavailable, match="qwen3:8b") as caught:
        bundles(folder, target).pull("qwen3:8b", Plain())
    assert "deploy bundle create qwen3:8b" in caught.value.hint


def test_a_folder_that_is_not_there_is_unreachable(
    bundles: Made, target: Box, tmp_path: Path
) -> None:
    with pytest.raises(SourceUnreachable):
        bundles(tmp_path / "none", target).pull(NAME, Plain())


def test_the_intent_says_what_is_missing(bundles: Made, folder: Path, target: Box) -> None:
    source = bundles(folder, target)
    before = source.intent(NAME)
    assert (before.present_bytes, before.download_bytes) == (0, before.total_bytes)
    source.pull(NAME, Plain())
    after = source.intent(NAME)
    assert (after.present_bytes, after.download_bytes) == (before.total_bytes, 0)


def test_a_file_is_its_own_source(bundles: Made, folder: Path, source: Box, target: Box) -> None:
    file = folder / "qwen2.5.tar"
    one = bundles(file, target)
    assert one.final(str(file)) == NAME
    one.pull(str(file), Plain())
    assert set(target.store.names()) == {NAME}

    both = source.folder / "both.tar"
    create((NAME, OTHER), both, source.home, source.environ, Plain())
    with pytest.raises(InvalidInput, match="2 models"):
        one.pull(str(both), Plain())
