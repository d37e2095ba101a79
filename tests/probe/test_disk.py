import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import Disk, ServerSettings
from orchestrator.probe.disk import SERVICE_STORE, model_store, read_disk
from orchestrator.probe.server import ServerProcess
from orchestrator.runtime.unit import SystemdUnit


def server(models: str | None = None, **facts: Any) -> ServerProcess:
    settings = ServerSettings(models_path=models)
    return ServerProcess(pid=7, settings=settings, **({"home": "/home/ann"} | facts))


OURS = {"HOME": "/home/me", "OLLAMA_MODELS": "/ours"}
UNIT = SystemdUnit(main_pid=7, user="ollama", environment={"OLLAMA_MODELS": "/unit"})


@pytest.mark.parametrize(
    ("process", "unit", "store"),
    [
        pytest.param(server("/srv"), UNIT, "/srv", id="1-the-servers-environment"),
        pytest.param(server(), UNIT, "/unit", id="2-its-unit"),
        pytest.param(
            server(),
            SystemdUnit(main_pid=7, user="ollama"),
            "/home/ann/.ollama/models",
            id="3-its-home",
        ),
        pytest.param(
            server(home=None),
            SystemdUnit(main_pid=7, user="ollama"),
            SERVICE_STORE,
            id="4-the-installers",
        ),
        pytest.param(
            server(), SystemdUnit(main_pid=8), "/home/ann/.ollama/models", id="another-unit"
        ),
        pytest.param(
            server(),
            SystemdUnit(main_pid=8, environment={"OLLAMA_MODELS": "/unit"}),
            "/home/ann/.ollama/models",
            id="the-store-of-another-unit",
        ),
        pytest.param(None, UNIT, "/unit", id="a-unit-that-does-not-answer"),
        pytest.param(None, None, "/ours", id="a-server-that-we-would-start"),
        pytest.param(
            server(home=None), None, "/home/me/.ollama/models", id="ours-says-nothing-of-theirs"
        ),
        pytest.param(server("/srv", same_namespaces=False), UNIT, None, id="inside-a-container"),
    ],
)
def test_the_store_that_the_server_uses(
    process: ServerProcess | None, unit: SystemdUnit | None, store: str | Path | None
) -> None:
    assert model_store(process, unit, OURS) == (None if store is None else Path(store))


def test_without_any_setting_the_store_is_below_home() -> None:
    assert model_store(None, None, {"HOME": "/home/me"}) == Path("/home/me/.ollama/models")


def test_a_store_that_does_not_exist_is_measured_at_its_parent(tmp_path: Path) -> None:
    disk = read_disk(tmp_path / "a" / "b")
    assert disk.model_store == str(tmp_path / "a" / "b")
    room = os.statvfs(tmp_path)
    assert disk.free_bytes is not None
    assert abs(disk.free_bytes - room.f_bavail * room.f_frsize) < 2**30


def test_free_is_what_a_user_may_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = os.statvfs(tmp_path)
    reserved = os.statvfs_result((*room[:2], 1000, 900, 100, *room[5:10]))
    monkeypatch.setattr(os, "statvfs", lambda _: reserved)
    assert read_disk(tmp_path).free_bytes == 100 * room.f_frsize


def test_links_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read_disk(tmp_path / "link" / "m").model_store == str(tmp_path / "real" / "m")


def test_an_unknown_store_has_unknown_room() -> None:
    assert read_disk(None) == Disk(model_store=None, free_bytes=None)
