"""`deploy runtime …` from install to stop, as a person types it."""

import shutil
from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.runtime import Binary
from tests.conftest import RunDeploy
from tests.loop.answers import answer
from tests.real.server import free_port


def test_start_status_and_stop(
    run_deploy: RunDeploy, runtime_binary: Binary, home: Home, tmp_path: Path
) -> None:
    folder = runtime_binary.path.parent
    shutil.copytree(folder, home.runtimes / folder.name)
    env = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}", "OLLAMA_MODELS": str(tmp_path / "models")}
    try:
        started = run_deploy("runtime", "start", "--json", env=env)
        assert started.returncode == 0, started.stderr
        assert answer(started, "runtime")["started"] is True
        installed = answer(run_deploy("runtime", "install", "--json", env=env), "runtime")
        assert Path(installed["installed"]).exists()
        status = answer(run_deploy("runtime", "status", "--json", env=env), "runtime")
        assert (status["owner"], status["answering"], status["version"]) == ("ours", True, "0.9.3")
        assert status["settings"]["OLLAMA_NUM_PARALLEL"] == "1"
        assert status["settings"]["OLLAMA_NOPRUNE"] == "1"
        again = run_deploy("runtime", "start", env=env)
        assert again.returncode == 0
        assert str(status["pid"]) in again.stdout
    finally:
        stopped = run_deploy("runtime", "stop", "--json", env=env)
    assert [s["pid"] for s in answer(stopped, "runtime")["stopped"]] == [status["pid"]]
    after = answer(run_deploy("runtime", "status", "--json", env=env), "runtime")
    assert (after["owner"], after["answering"]) == ("none", False)
    nothing = run_deploy("runtime", "stop", env=env)
    assert nothing.returncode == 0
    assert "no server of ours runs" in nothing.stdout


def test_an_embedded_runtime_has_no_version_to_choose(run_deploy: RunDeploy) -> None:
    done = run_deploy("runtime", "install", "--from", "embedded", "--version", "0.30.0")

    assert done.returncode == 2
    assert "for releases" in done.stderr


def test_a_rollback_without_a_release_before_says_what_to_install(run_deploy: RunDeploy) -> None:
    done = run_deploy("runtime", "rollback", "--json")

    assert done.returncode == 2
    assert "deploy runtime install --from release" in done.stderr + done.stdout


def test_a_release_in_the_path_goes_before_what_is_installed_and_that_is_said(
    run_deploy: RunDeploy, runtime_binary: Binary, home: Home, tmp_path: Path
) -> None:
    folder = runtime_binary.path.parent
    home.runtimes.mkdir(parents=True)
    (home.runtimes / folder.name).symlink_to(folder)
    own = tmp_path / "bin" / "ollama"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    env = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}", "PATH": f"{own.parent}:/usr/bin:/bin"}

    done = run_deploy("runtime", "install", env=env)

    assert done.returncode == 0, done.stderr
    assert f"takes {own}" in done.stderr


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--version", "newest"), "no version of Ollama"),
        (("--base-url", "ftp://mirror"), "no base URL"),
        (("--limit-rate", "fast"), "limit-rate"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    run_deploy: RunDeploy, words: tuple[str, str], what: str
) -> None:
    done = run_deploy("runtime", "install", "--from", "release", *words)

    assert done.returncode == 2
    assert what in done.stderr
