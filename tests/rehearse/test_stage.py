"""How a stand-in becomes a blob, through the store and over the wire, and goes again."""

from pathlib import Path

import pytest

from orchestrator.errors import DiskFull, ServerUnreachable
from orchestrator.home import Home
from orchestrator.runtime import Binary
from orchestrator.server import Server
from orchestrator.standin import StandIn
from orchestrator.standin.stage import Stage, name_of
from orchestrator.store import Store
from tests.loop.heard import Heard
from tests.real.disk import fill, small_disk
from tests.real.server import RealServer
from tests.rehearse.conftest import left_of_rehearsals
from tests.standin.shapes import QWEN2

STANDIN = StandIn(shape=QWEN2, quantization="F32")


@pytest.fixture
def running(server: RealServer) -> RealServer:
    """A server that has made its folders."""
    (server.models / "blobs").mkdir(exist_ok=True)
    (server.models / "manifests").mkdir(exist_ok=True)
    return server


def test_in_a_store_of_ours_it_is_written_once_and_no_copy_is_made(
    running: RealServer, home: Home
) -> None:
    api = Server(running.url)
    stage = Stage.of(api, str(running.models), home)
    assert stage.store
    written = stage.put(STANDIN, "a:1", Heard())
    api.create(name_of(written.digest), written.digest)
    sizes = [p.stat().st_size for p in (running.models / "blobs").iterdir()]
    assert sizes.count(written.file_bytes) == 1
    assert sum(sizes) < written.file_bytes + 10_000
    assert Store(running.models).damage([], lambda *_: None) == []
    shown = api.show(name_of(written.digest))
    assert shown
    assert shown.architecture == QWEN2
    assert stage.clear() == [name_of(written.digest), written.digest]
    assert left_of_rehearsals(running, home.data.parent) == []
    assert stage.clear() == []


@pytest.mark.parametrize("named", [True, False], ids=["named", "only-a-blob"])
def test_over_the_wire_the_server_takes_it_and_lets_it_go_again(
    running: RealServer, home: Home, named: bool
) -> None:
    api = Server(running.url)
    stage = Stage.of(api, None, home)
    assert stage.store is None
    written = stage.put(STANDIN, "a:1", Heard())
    blob = Store(running.models).blob(written.digest)
    assert blob.stat().st_size == written.file_bytes
    if named:
        api.create(name_of(written.digest), written.digest)
    assert Stage.of(api, None, home).clear()
    assert not blob.exists()
    assert left_of_rehearsals(running, home.data.parent) == []
    assert not stage.folder.exists()


def test_without_the_server_the_mark_stays_for_the_next_run(
    running: RealServer, home: Home
) -> None:
    api = Server(running.url)
    stage = Stage.of(api, None, home)
    stage.put(STANDIN, "a:1", Heard())
    running.stop()
    assert stage.clear() == []
    [mark] = stage.folder.iterdir()
    assert mark.stat().st_size == 0
    running.start()
    assert stage.clear()
    assert left_of_rehearsals(running, home.data.parent) == []


def test_without_the_server_files_in_a_store_of_ours_go_at_once(
    running: RealServer, home: Home
) -> None:
    stage = Stage.of(Server(running.url), str(running.models), home)
    written = stage.put(STANDIN, "a:1", Heard())
    running.stop()
    assert stage.clear() == [written.digest]
    assert [p for p in running.models.rglob("*") if p.is_file()] == []
    running.start()


class _Filling(Heard):
    """Fills the disk as soon as something is written."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def advance(self, label: str, done: int, total: int | None) -> None:
        super().advance(label, done, total)
        if not (self.folder / "ballast").exists():
            fill(self.folder)


def test_a_disk_that_fills_while_it_is_written_is_said_and_nothing_stays(
    runtime_binary: Binary, tmp_path: Path, home: Home
) -> None:
    server = RealServer(runtime_binary.path, runtime_binary.library_path, tmp_path / "server")
    with small_disk(server.models, "400m"), server:
        (server.models / "blobs").mkdir(exist_ok=True)
        stage = Stage.of(Server(server.url), str(server.models), home)
        with pytest.raises(DiskFull, match="is full while writing a stand-in of a:1"):
            stage.put(STANDIN, "a:1", _Filling(server.models))
        stage.clear()
        assert left_of_rehearsals(server, home.data.parent) == []


def test_one_that_nobody_answers_for_is_not_uploaded(home: Home) -> None:
    stage = Stage.of(Server("http://127.0.0.1:9"), None, home)
    with pytest.raises(ServerUnreachable):
        stage.put(STANDIN, "a:1", Heard())
    stage.clear()
