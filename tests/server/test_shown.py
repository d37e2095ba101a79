"""Where a server says that a model's weights lie: its own store, whatever hides it."""

from pathlib import Path

from orchestrator.probe.disk import model_store
from orchestrator.server import Server
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel


def test_a_server_reveals_its_store_by_the_path_of_a_blob(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    model = tiny_models["qwen2.5:0.5b"]
    name = tiny.create(server, model)
    path = Server(server.url).blob_path(name)
    assert path
    assert Path(path).name == model.digest.replace(":", "-")
    assert Path(path).is_file()
    assert model_store(None, None, {"HOME": "/home/me"}, revealed=path) == server.models


def test_of_a_model_that_is_not_there_nothing_is_revealed(server: RealServer) -> None:
    assert Server(server.url).blob_path("absent:latest") is None


def test_a_server_that_is_gone_reveals_nothing() -> None:
    assert Server("http://127.0.0.1:1").blob_path("any:latest") is None
