"""The moment in which a model gets its name, on a disk that becomes full in it."""

import pytest

from orchestrator.errors import DiskFull, ServerRefused
from orchestrator.importing import Destination
from orchestrator.importing.place import put
from orchestrator.server import Server
from tests.importing.imported import NAME, destination, left_over
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

OLD, NEW = "qwen2.5:0.5b", "qwen3:0.6b"


class Full(Server):
    """Its copies to some names fail as on a full disk: they leave the name with nothing in it."""

    def __init__(self, server: RealServer, fails: int) -> None:
        super().__init__(server.url)
        self._models, self._fails = server.models, fails

    def copy(self, source: str, target: str) -> None:
        if target != NAME or not self._fails:
            super().copy(source, target)
            return
        self._fails -= 1
        (self._models / "manifests/registry.ollama.ai" / NAME.replace(":", "/")).write_bytes(b"")
        raise DiskFull(f"no room to write {target} into the store")


@pytest.fixture
def models(server: RealServer, tiny_models: dict[str, TinyModel]) -> RealServer:
    """A server that has an old model under NAME, and a new one."""
    tiny.create(server, tiny_models[OLD], NAME)
    tiny.create(server, tiny_models[NEW])
    return server


def full(server: RealServer, fails: int) -> Destination:
    version = destination(server).version
    return Destination(server=Full(server, fails), store=None, version=version)


def test_a_name_that_the_server_emptied_is_restored(models: RealServer) -> None:
    before = Server(models.url).find(NAME)
    with pytest.raises(DiskFull):
        put(full(models, 1), NEW, NAME)
    assert Server(models.url).find(NAME) == before
    assert left_over(models, NAME, NEW) == []


def test_what_cannot_be_restored_is_kept_under_a_name_that_is_told(models: RealServer) -> None:
    before = Server(models.url).find(NAME)
    assert before
    with pytest.raises(ServerRefused, match="has the name deploy/import:") as failure:
        put(full(models, 2), NEW, NAME)
    _, former = failure.value.hint.rstrip("`").split("cp ")[1].split()[::-1]
    kept = Server(models.url).find(former)
    assert kept
    assert kept.digest == before.digest


@pytest.mark.parametrize("ours", [True, False])
def test_the_old_model_goes_when_the_new_one_has_its_name(
    models: RealServer, *, ours: bool
) -> None:
    wanted = Server(models.url).find(NEW)
    put(destination(models, store=ours), NEW, NAME)
    found = Server(models.url).find(NAME)
    assert found
    assert wanted
    assert found.digest == wanted.digest
    assert left_over(models, NAME, NEW) == []
