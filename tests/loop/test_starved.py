"""No room on a disk, no home to write in, memory that goes away between plan and load."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.runtime import Binary
from orchestrator.runtime.runner import runners_of
from orchestrator.units import MIB
from tests.conftest import RunDeploy
from tests.loop.answers import answer, chat
from tests.real.disk import fill, small_disk
from tests.real.registry import Registry
from tests.real.server import RealServer, bare_environment
from tests.real.tiny import TinyCatalog, TinyModel

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def profile(tiny_catalog: TinyCatalog, tmp_path: Path) -> Path:
    """The tiny catalogue, without a floor in speed."""
    path = tmp_path / "tiny.toml"
    catalog = json.dumps(str(tiny_catalog.path))
    path.write_text(f"catalog = {catalog}\nmin_tps = 0\nvalidation_s = 2\n")
    return path


def test_a_store_that_is_too_small_is_said_before_a_byte_moves(
    run_deploy: RunDeploy,
    runtime_binary: Binary,
    registry: Registry,
    profile: Path,
    tmp_path: Path,
) -> None:
    server = RealServer(runtime_binary.path, runtime_binary.library_path, tmp_path / "server")
    with small_disk(server.models, "64m"), server:
        asked = len(registry.requests())
        found = run_deploy(
            "auto", "--profile", profile, "--registry", registry.url, "--json",
            env={"OLLAMA_HOST": server.url},
        )  # fmt: skip
        assert found.returncode == 6, found.stderr
        message = answer(found, "error")["error"]["message"]
        assert "needs 1.01 GiB" in message
        assert "64 MiB is free" in message
        assert str(server.models) in message
        assert len(registry.requests()) == asked


def test_a_ledger_on_a_full_disk_ends_the_run_before_a_byte_moves(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, profile: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "full", "1m") as disk:
        (disk / "state").mkdir()
        (disk / "data").mkdir()
        fill(disk)
        asked = len(registry.requests())
        found = run_deploy(
            "auto", "--profile", profile, "--registry", registry.url, "--json",
            env={"OLLAMA_HOST": server.url, "DEPLOY_HOME": str(disk)},
        )  # fmt: skip
        assert found.returncode == 6, found.stderr
        message = answer(found, "error")["error"]["message"]
        assert str(disk / "data" / "ledger.db") in message
        assert len(registry.requests()) == asked
        assert server.client().list().models == []


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Bind a folder read-only over itself: as root no mode bit would stop a write."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("home", ["read-only", "unset"])
def test_without_a_home_to_write_in_one_line_says_what_to_set(
    server: RealServer, registry: Registry, profile: Path, tmp_path: Path, home: str
) -> None:
    person = tmp_path / "person"
    environment = bare_environment(person) | {
        "OLLAMA_HOST": server.url,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    if home == "unset":
        environment.pop("HOME")
        environment["XDG_STATE_HOME"] = environment["XDG_DATA_HOME"] = str(person)
    with read_only(person):
        found = subprocess.run(
            [sys.executable, "-m", "orchestrator", "auto", "--profile", profile,
             "--registry", registry.url],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )  # fmt: skip
    assert found.returncode == 6, found.stderr
    assert "Traceback" not in found.stderr
    assert f"error: cannot lock {person}" in found.stderr
    assert "hint: set DEPLOY_HOME" in found.stderr
    assert server.client().list().models == []


@contextmanager
def memory_killer(server: RealServer, digest: str) -> Iterator[list[int]]:
    """SIGKILL each runner of one model, as the kernel does to the largest process."""
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            for runner in runners_of(server.pid):
                if runner.blob == digest and runner.pid not in killed:
                    killed.append(runner.pid)
                    os.kill(runner.pid, signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_a_runner_that_the_kernel_kills_steps_down_and_is_told_as_such(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    profile: Path,
    home: Home,
    tiny_models: dict[str, TinyModel],
) -> None:
    profile.write_text(profile.read_text() + 'families = [["qwen3"], ["qwen2.5"]]\n')
    with memory_killer(server, tiny_models["qwen3:0.6b"].digest) as killed:
        found = run_deploy(
            "auto", "--profile", profile, "--registry", registry.url, "--json",
            env={"OLLAMA_HOST": server.url}, timeout=300,
        )  # fmt: skip
    assert killed
    assert found.returncode == 0, found.stderr
    deployed = answer(found, "deployment")
    assert deployed["tag"] == "qwen2.5:0.5b"
    [rejection] = [r for r in deployed["rejected"] if r["tag"] == "qwen3:0.6b"]
    assert rejection["reason"] == "memory"
    assert "killed" in rejection["detail"]
    assert "qwen3:0.6b does not hold: " in found.stderr
    states = {d["tag"]: d["state"] for d in Ledger(home.ledger).deployments(9)}
    assert states == {"qwen2.5:0.5b": "current", "qwen3:0.6b": "failed"}
    assert chat(server, "deploy-current") == "deploy-current"


def test_what_serves_stays_when_its_successor_has_no_room_on_the_disk(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, profile: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "shared-disk", "1100m") as disk:
        models = disk / "models"
        server.stop()
        server.models = models
        server.start()
        shared = ("--profile", profile, "--registry", registry.url)
        env = {"OLLAMA_HOST": server.url}
        assert run_deploy("auto", "qwen2.5:0.5b", *shared, env=env, timeout=300).returncode == 0
        left = os.statvfs(disk)
        with (disk / "other").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, left.f_bavail * left.f_frsize - 4 * MIB)
        found = run_deploy("auto", "deepseek-r1:7b", *shared, "--json", env=env)
        assert found.returncode == 6, found.stderr
        assert "is free" in answer(found, "error")["error"]["message"]
        assert chat(server, "deploy-current") == "deploy-current"
