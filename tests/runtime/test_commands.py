"""`deploy runtime …` from install to stop, as a person types it."""

import shutil
from pathlib import Path

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
