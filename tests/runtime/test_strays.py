"""Runners without a server, of real servers and as a captured /proc shows them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from orchestrator.runtime.binary import Binary
from orchestrator.runtime.strays import Stray, end_strays, strays
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

BLOB = "/models/blobs/sha256-ba7"
RUNNER = ("/usr/bin/ollama", "runner", "--model", BLOB, "--port", "1")
LLAMA = ("/lib/llama-server", "--model", BLOB, "--port", "1", "--no-webui", "--offline")
SERVER = ("/usr/bin/ollama", "serve")


@pytest.fixture
def another(runtime_binary: Binary, server: RealServer, tmp_path: Path) -> Iterator[RealServer]:
    """A second server, on the store of the first."""
    second = RealServer(runtime_binary.path, runtime_binary.library_path, tmp_path / "second")
    second.models = server.models
    with second:
        yield second


def _load(server: RealServer, name: str) -> int:
    server.client().generate(name, "", options={"num_ctx": 512}, keep_alive=-1)
    [runner] = psutil.Process(server.pid).children()
    return runner.pid


def test_the_runner_of_a_killed_server_is_found_and_ended_and_no_other(
    server: RealServer, another: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    model = tiny_models["qwen2.5:0.5b"]
    name = tiny.create(server, model)
    left, served = _load(server, name), _load(another, name)
    assert strays(server.models) == ()

    server.kill(runners=False)

    [stray] = strays(server.models)
    assert stray.pid == left
    assert Path(stray.model_path).name == model.digest.replace(":", "-")
    assert stray.user
    assert stray in strays(None)
    assert strays(server.home) == ()
    assert end_strays(server.models) == ((left,), ())
    assert strays(server.models) == ()
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
    assert psutil.pid_exists(served)
    assert end_strays(server.models) == ((), ())


def test_a_server_that_is_started_again_does_not_own_what_it_left(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    left = _load(server, tiny.create(server, tiny_models["qwen2.5:0.5b"]))
    server.kill(runners=False)
    server.start()

    assert [s.pid for s in strays(server.models)] == [left]


def test_what_is_not_ours_to_kill_is_told(
    server: RealServer, tiny_models: dict[str, TinyModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = _load(server, tiny.create(server, tiny_models["qwen2.5:0.5b"]))
    server.kill(runners=False)

    def refuse(process: psutil.Process) -> None:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "kill", refuse)  # root may kill everything

    assert end_strays(server.models) == ((), (left,))


@dataclass
class Captured:
    """A /proc with processes written into it."""

    folder: Path

    def add(self, pid: int, parent: int, arguments: tuple[str, ...], depth: int = 1) -> None:
        place = self.folder / str(pid)
        place.mkdir(exist_ok=True)
        (place / "cmdline").write_text("\0".join(arguments) + "\0")
        numbers = "\t".join([str(pid)] * depth)
        (place / "status").write_text(f"PPid:\t{parent}\nUid:\t0\t0\t0\t0\nNSpid:\t{numbers}\n")


@pytest.fixture
def captured(tmp_path: Path) -> Captured:
    found = Captured(tmp_path)
    found.add(os.getpid(), 1, ("python",))
    found.add(1, 0, ("/sbin/init",))
    return found


@pytest.mark.parametrize(
    ("arguments", "parent", "depth", "found"),
    [
        pytest.param(RUNNER, 1, 1, True, id="adopted-by-init"),
        pytest.param(LLAMA, 1, 1, True, id="of-the-newest-kind"),
        pytest.param(RUNNER, 20, 1, False, id="of-a-living-server"),
        pytest.param(RUNNER, 21, 1, False, id="of-a-server-through-a-wrapper"),
        pytest.param(RUNNER, 22, 1, True, id="adopted-by-a-session"),
        pytest.param(RUNNER, 1, 2, False, id="in-a-container"),
        pytest.param(LLAMA[:5], 1, 1, False, id="a-person's-llama-server-on-the-same-file"),
        pytest.param((*LLAMA[:2], "/home/me/x.gguf", *LLAMA[3:]), 1, 1, False, id="no-blob"),
        pytest.param(("/lib/llama-server", "--list-devices"), 1, 1, False, id="without-a-model"),
        pytest.param(("cat", "runner", "--model", BLOB), 1, 1, False, id="another-program"),
    ],
)
def test_what_counts_as_a_stray(
    captured: Captured, arguments: tuple[str, ...], parent: int, depth: int, found: bool
) -> None:
    captured.add(20, 1, SERVER)
    captured.add(21, 20, ("/bin/sh", "-c", "exec ollama"))
    captured.add(22, 1, ("/usr/lib/systemd/systemd", "--user"))
    captured.add(50, parent, arguments, depth)
    expected = (Stray(pid=50, model_path=BLOB, user="root"),) if found else ()

    assert strays(Path("/models"), captured.folder) == expected
    assert strays(None, captured.folder) == expected
    assert strays(Path("/elsewhere"), captured.folder) == ()


def test_a_store_behind_a_link_is_the_same_store(captured: Captured, tmp_path: Path) -> None:
    (tmp_path / "true" / "blobs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "true")
    captured.add(50, 1, ("ollama", "runner", "--model", f"{tmp_path}/link/blobs/sha256-1"))

    assert len(strays(tmp_path / "true", captured.folder)) == 1


def test_without_proc_nothing_is_seen(tmp_path: Path) -> None:
    assert strays(None, tmp_path / "absent") == ()
