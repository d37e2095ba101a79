import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import Disk, ServerSettings, Volume
from orchestrator.probe.disk import SERVICE_STORE, model_store, read_disk
from orchestrator.probe.server import ServerProcess
from orchestrator.probe.sight import Sight
from orchestrator.runtime.unit import SystemdUnit
from orchestrator.units import GIB, MIB
from tests.probe.boxes import Box
from tests.real.disk import small_disk

RYZEN = Path(__file__).parents[1] / "captured" / "ryzen-5950x"
BLOB = f"/big/models/blobs/sha256-{'0a' * 32}"


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
        pytest.param(
            server(),
            SystemdUnit(environment={"OLLAMA_MODELS": "/unit"}),
            "/home/ann/.ollama/models",
            id="the-store-of-a-unit-that-does-not-run",
        ),
        pytest.param(None, None, "/ours", id="a-server-that-we-would-start"),
        pytest.param(None, UNIT, "/ours", id="a-stopped-unit-is-not-what-we-would-start"),
        pytest.param(None, replace(UNIT, active=True), "/unit", id="a-unit-that-is-starting"),
        pytest.param(
            None,
            SystemdUnit(active=True, user="ollama"),
            SERVICE_STORE,
            id="the-installers-unit-that-is-starting",
        ),
        pytest.param(
            None,
            replace(UNIT, active=True, environment={"OLLAMA_MODELS": "/u", "OLLAMA_HOST": ":1"}),
            "/ours",
            id="a-unit-that-starts-at-another-port",
        ),
        pytest.param(
            server(home=None), None, "/home/me/.ollama/models", id="ours-says-nothing-of-theirs"
        ),
        pytest.param(server("/srv", same_namespaces=False), UNIT, None, id="inside-a-container"),
        pytest.param(server("/srv", where="container"), None, None, id="with-our-process-numbers"),
    ],
)
def test_the_store_that_the_server_uses(
    process: ServerProcess | None, unit: SystemdUnit | None, store: str | Path | None
) -> None:
    assert model_store(process, unit, OURS) == (None if store is None else Path(store))


@pytest.mark.parametrize(
    ("process", "unit", "revealed", "store"),
    [
        pytest.param(server(), None, BLOB, "/big/models", id="before-its-home"),
        pytest.param(
            server(home=None),
            SystemdUnit(main_pid=7, user="ollama"),
            BLOB,
            "/big/models",
            id="before-the-installers",
        ),
        pytest.param(None, None, BLOB, "/big/models", id="before-ours"),
        pytest.param(server("/srv"), None, BLOB, "/big/models", id="before-its-settings"),
        pytest.param(server(), UNIT, BLOB, "/big/models", id="before-its-unit"),
        pytest.param(server(same_namespaces=False), None, BLOB, None, id="of-a-container"),
        pytest.param(
            server(), None, "C:\\m\\blobs\\sha256-1", "/home/ann/.ollama/models", id="not-of-here"
        ),
        pytest.param(server(), None, "/m/x.gguf", "/home/ann/.ollama/models", id="no-blob"),
        pytest.param(
            server(), None, "m/blobs/sha256-1", "/home/ann/.ollama/models", id="below-nothing"
        ),
        pytest.param(server(), None, "", "/home/ann/.ollama/models", id="empty"),
    ],
)
def test_the_path_of_a_blob_reveals_the_store(
    process: ServerProcess | None, unit: SystemdUnit | None, revealed: str, store: str | None
) -> None:
    found = model_store(process, unit, OURS, revealed=revealed)
    assert found == (None if store is None else Path(store))


def test_without_any_setting_the_store_is_below_the_home_that_our_server_would_have(
    tmp_path: Path,
) -> None:
    """One that it cannot write to it is not given: it could not make its key there."""
    ours = {"HOME": str(tmp_path), "DEPLOY_HOME": str(tmp_path / "deploy")}
    assert model_store(None, None, ours) == tmp_path / ".ollama" / "models"
    (tmp_path / ".ollama").write_text("no folder")
    elsewhere = model_store(None, None, ours)
    assert elsewhere not in (None, tmp_path / ".ollama" / "models")
    assert not (tmp_path / "deploy").exists()


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


def test_links_that_lead_in_a_circle_lead_to_no_room(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    disk = read_disk(tmp_path / "a" / "models")
    assert (disk.model_store, disk.free_bytes) == (str(tmp_path / "a" / "models"), None)


def test_an_unknown_store_has_unknown_room() -> None:
    assert read_disk(None) == Disk(model_store=None, free_bytes=None)


def test_interrupted_downloads_are_counted_by_their_blocks(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    assert read_disk(tmp_path).partial_bytes == 0
    blobs.mkdir()
    assert read_disk(tmp_path).partial_bytes == 0
    with (blobs / "sha256-1-partial").open("wb") as file:
        file.write(os.urandom(MIB))
        file.truncate(3 * GIB)  # the server makes it as long as the blob at once
    (blobs / "sha256-1-partial-0").write_text("{}")
    (blobs / "sha256-2").write_bytes(os.urandom(4 * MIB))
    os.sync()
    taken = read_disk(tmp_path).partial_bytes
    assert taken
    assert MIB <= taken < 2 * MIB


def test_a_store_whose_blobs_cannot_be_listed_has_unknown_partials(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("no folder")  # root may list every folder
    assert read_disk(tmp_path).partial_bytes is None


def test_a_store_on_the_slow_disk_is_told_beside_the_fast_one() -> None:
    disk = read_disk(Path("/srv/ollama/models"), Sight(RYZEN))
    assert disk == Disk(
        model_store="/srv/ollama/models",
        free_bytes=1613758464 * 4096,
        kind="hdd",
        filesystem="ext4",
        read_only=False,
        free_inodes=244101233,
        partial_bytes=3 * GIB,
        others=(
            Volume(mount="/data", kind="nvme", filesystem="ext4", free_bytes=146800640 * 4096),
            Volume(mount="/", kind="nvme", filesystem="ext4", free_bytes=27262976 * 4096),
        ),
    )


def test_a_store_that_the_captured_box_does_not_have_is_measured_at_its_mount() -> None:
    disk = read_disk(Path("/data/new"), Sight(RYZEN))
    assert (disk.model_store, disk.kind) == ("/data/new", "nvme")
    assert disk.free_bytes == 146800640 * 4096
    assert [each.mount for each in disk.others] == ["/srv", "/"]


def test_what_was_read_here_is_read_again_out_of_a_captured_box(tmp_path: Path) -> None:
    store = tmp_path / "models"
    (store / "blobs").mkdir(parents=True)
    (store / "blobs" / "sha256-1-partial").write_bytes(os.urandom(MIB))
    os.sync()
    seen: dict[str, str] = {}
    here = read_disk(store, Sight(seen=seen))
    box = Box(tmp_path / "box")
    for key, said in seen.items():
        if key.startswith("$ "):
            box.answer(key[2:], said)
        elif key.startswith("-> "):
            box.link(key[3:], said)
        else:
            box.file(key, said)
    assert read_disk(store, box.sight) == here


def test_a_store_in_memory_is_told_as_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "memory", "8m") as folder:
        disk = read_disk(folder / "models")
    assert (disk.kind, disk.filesystem) == ("memory", "tmpfs")
    assert disk.free_bytes == 8 * 2**20


def test_random_answers_never_make_it_raise(tmp_path: Path) -> None:
    chance, box = random.Random(5), Box(tmp_path)
    box.file("/proc/self/mountinfo", "30 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    for _ in range(200):
        for key in ("resolved /m", "statvfs /m", "statvfs /", "partials /m"):
            box.answer(key, chance.randbytes(chance.randrange(40)))
        read_disk(Path("/m"), box.sight)
