"""`deploy runtime` with releases that have a real Ollama in them, as a person types it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.runtime import Binary
from tests.conftest import RunDeploy
from tests.loop.answers import answer
from tests.real.hub import Hub
from tests.real.server import free_port
from tests.release.publisher import Publisher, real, small


@pytest.fixture(scope="module")
def publisher(
    runtime_binary: Binary, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Publisher]:
    """Two versions, of which only their names and their formats differ."""
    with Hub(tmp_path_factory.mktemp("published")) as hub:
        publisher = Publisher(hub)
        publisher.publish("0.30.1", {"ollama-linux-amd64.tgz": real(runtime_binary)})
        publisher.publish("0.33.0", {"ollama-linux-amd64.tar.zst": real(runtime_binary)})
        yield publisher


def _partial(store: Path) -> None:
    blobs = store / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / f"sha256-{'a' * 64}-partial").write_bytes(b"x" * 10**6)


def test_install_start_upgrade_restart_and_rollback(
    run_deploy: RunDeploy, publisher: Publisher, home: Home, tmp_path: Path
) -> None:
    store = tmp_path / "models"
    env = {
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        "OLLAMA_MODELS": str(store),
        "DEPLOY_RUNTIME_URL": publisher.base_url,
    }

    def deploy(*words: str) -> dict[str, object]:
        return dict(answer(run_deploy("runtime", *words, "--json", env=env), "runtime"))

    of_release = ("install", "--version")  # whoever names a version wants a release
    try:
        old = deploy(*of_release, "0.30.1")
        assert old["current"] == "release-0.30.1"
        assert old["installed"] == str(home.runtimes / "release-0.30.1/bin/ollama")
        started = deploy("start")
        assert (started["kind"], started["version"]) == ("release", "0.9.3")
        assert started["binary"] == old["installed"]
        _partial(store)

        upgraded = run_deploy("runtime", *of_release, "0.33.0", env=env)
        assert upgraded.returncode == 0, upgraded.stderr
        assert "deploy runtime stop && deploy runtime start" in upgraded.stderr
        assert "1 MB of 1 MB of interrupted downloads" in upgraded.stderr
        assert "OLLAMA_NOPRUNE=1" in upgraded.stderr
        status = deploy("status")
        assert (status["answering"], status["binary"]) == (True, old["installed"])
        assert (status["current"], status["previous"]) == ("release-0.33.0", "release-0.30.1")

        stopped = run_deploy("runtime", "stop", env=env)
        assert "interrupted downloads" in stopped.stderr
        assert deploy("start")["binary"] == str(home.runtimes / "release-0.33.0/bin/ollama")
        assert list((store / "blobs").glob("*-partial")), "a start of ours keeps them"
        assert deploy("rollback")["current"] == "release-0.30.1"
    finally:
        run_deploy("runtime", "stop", env=env)


def test_a_release_that_a_server_runs_from_stays(
    run_deploy: RunDeploy, publisher: Publisher, home: Home, tmp_path: Path
) -> None:
    env = {
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        "OLLAMA_MODELS": str(tmp_path / "models"),
        "DEPLOY_RUNTIME_URL": publisher.base_url,
    }
    zst = "ollama-linux-amd64.tar.zst"
    for version in ("0.31.0", "0.32.0"):
        publisher.publish(version, {zst: small(version)})

    def install(version: str) -> None:
        done = run_deploy("runtime", "install", "--from", "release", "--version", version, env=env)
        assert done.returncode == 0, done.stderr

    try:
        install("0.33.0")
        started = run_deploy("runtime", "start", "--json", env=env)
        for version in ("0.31.0", "0.32.0"):
            install(version)
        assert (home.runtimes / "release-0.33.0").exists()
        assert json.loads(started.stdout)["answering"]
    finally:
        run_deploy("runtime", "stop", env=env)
    install("0.32.0")
    assert sorted(p.name for p in home.runtimes.iterdir()) == [
        "current.json",
        "release-0.31.0",
        "release-0.32.0",
    ]
