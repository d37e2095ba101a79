"""Where a server says that a model's weights lie: its own store, whatever hides it."""

from pathlib import Path

import pytest

from orchestrator.probe.disk import model_store
from orchestrator.server import Server, wire
from orchestrator.server.shown import Shown
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


@pytest.mark.parametrize(
    ("tag", "thinks"), [("qwen3:0.6b", True), ("deepseek-r1:1.5b", True), ("qwen2.5:0.5b", False)]
)
def test_what_a_model_can_do_is_what_the_server_says(
    server: RealServer, tiny_models: dict[str, TinyModel], tag: str, thinks: bool
) -> None:
    shown = Server(server.url).show(tiny.create(server, tiny_models[tag]))

    assert shown
    assert shown.capabilities is not None
    assert "completion" in shown.capabilities
    assert ("thinking" in shown.capabilities) is thinks


def test_a_server_too_old_to_say_what_a_model_can_do_leaves_it_unknown(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    name = tiny.create(server, tiny_models["qwen3:0.6b"])
    answer = wire.request(server.url, "POST", "/api/show", {"model": name}, timeout_s=30)
    del answer["capabilities"]

    assert Shown.from_json(answer).capabilities is None
