"""Two runs at once, and clients that come in between."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.runtime.runner import runners_of
from tests.conftest import RunDeploy
from tests.loop.answers import answer, chat
from tests.real import tiny
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


def start(server: RealServer, home: Home, *arguments: str | Path) -> "subprocess.Popen[str]":
    """Start deploy beside the test."""
    ours = {
        "OLLAMA_HOST": server.url,
        "DEPLOY_HOME": str(home.data.parent),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *map(str, arguments)],
        env=bare_environment(server.home) | ours,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(run: "subprocess.Popen[str]", word: str) -> str:
    """Read what a run says up to a line with that word; return all of it."""
    assert run.stderr
    said = ""
    for line in run.stderr:
        said += line
        if word in line:
            return said
    run.communicate()
    pytest.fail(f"the run ended before it said {word!r}:\n{said}")


@pytest.fixture
def deployed(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, profile: Path
) -> RealServer:
    """A server that serves qwen2.5:0.5b."""
    found = run_deploy(
        "auto", "qwen2.5:0.5b", "--profile", profile, "--registry", registry.url,
        env={"OLLAMA_HOST": server.url}, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return server


def test_of_two_runs_at_once_one_deploys_and_the_other_is_told_by_whom(
    server: RealServer, registry: Registry, profile: Path, home: Home
) -> None:
    arguments = ("auto", "qwen3:0.6b", "--profile", profile, "--registry", registry.url)
    runs = [start(server, home, *arguments) for _ in range(2)]
    said = {run.pid: run.communicate(timeout=300)[1] for run in runs}
    first, second = sorted(runs, key=lambda run: run.returncode)
    assert (first.returncode, second.returncode) == (0, 75), said
    assert f"pid {first.pid}, since 20" in said[second.pid]
    assert [d["state"] for d in Ledger(home.ledger).deployments(9)] == ["current"]


def test_auto_waits_for_nobody_who_measures(
    deployed: RealServer, run_deploy: RunDeploy, profile: Path, home: Home
) -> None:
    bench = start(deployed, home, "bench", "deploy-current", "--quick", "--profile", profile)
    until(bench, "loading")
    found = run_deploy("auto", "--profile", profile, env={"OLLAMA_HOST": deployed.url})
    bench.terminate()
    bench.communicate(timeout=60)
    assert found.returncode == 75
    assert f"`deploy bench`, pid {bench.pid}" in found.stderr
    assert bench.returncode == 143


def test_another_client_that_loads_a_model_meanwhile_makes_it_inconclusive(
    deployed: RealServer,
    registry: Registry,
    profile: Path,
    home: Home,
    tiny_models: dict[str, TinyModel],
) -> None:
    tiny.create(deployed, tiny_models["deepseek-r1:7b"], "somebody:7b")
    profile.write_text(profile.read_text().replace("validation_s = 2", "validation_s = 8"))
    run = start(
        deployed, home, "auto", "qwen3:0.6b", "--profile", profile, "--registry", registry.url,
        "--json", "--log-format", "json",
    )  # fmt: skip
    until(run, "measure.begin")
    deployed.client().generate("somebody:7b", "", keep_alive="3s")  # gone before the end
    out, said = run.communicate(timeout=300)
    assert run.returncode == 9, said
    error = json.loads(out)["error"]
    assert error["name"] == "Inconclusive"
    assert "somebody:7b" in error["message"] or "loaded meanwhile" in error["message"]
    assert chat(deployed, "deploy-current") == "deploy-current"
    ledger = Ledger(home.ledger)
    states = [(d["tag"], d["state"]) for d in ledger.deployments(9)]
    assert states == [("qwen3:0.6b", "failed"), ("qwen2.5:0.5b", "current")]
    names = {str(m.model) for m in deployed.client().list().models}
    assert "deploy/qwen3:0.6b-ctx4096" not in names


def test_a_client_that_changes_the_options_of_the_alias_is_seen_said_and_put_right(
    deployed: RealServer,
    run_deploy: RunDeploy,
    registry: Registry,
    profile: Path,
) -> None:
    env = {"OLLAMA_HOST": deployed.url}
    deployed.client().generate("deploy-current", "a b", options={"num_ctx": 512, "num_predict": 1})
    [runner] = runners_of(deployed.pid)
    assert runner.context == 512
    seen = run_deploy("status", "--check", "--profile", profile, env=env)
    assert seen.returncode == 7
    assert "a context of 512 tokens, not 4096: a client sends options.num_ctx" in seen.stdout
    again = run_deploy(
        "auto", "qwen2.5:0.5b", "--profile", profile, "--registry", registry.url, "--json", env=env
    )
    assert answer(again, "deployment")["changed"] is False
    assert "context of 512" in again.stderr
    [runner] = runners_of(deployed.pid)
    assert runner.context == 4096
    assert run_deploy("status", "--check", "--profile", profile, env=env).returncode == 0


def test_a_client_that_sends_a_keep_alive_is_put_right(
    deployed: RealServer, run_deploy: RunDeploy, registry: Registry, profile: Path
) -> None:
    env = {"OLLAMA_HOST": deployed.url}
    deployed.client().generate("deploy-current", "", keep_alive="1m")
    assert run_deploy("status", "--check", "--profile", profile, env=env).returncode == 7
    again = run_deploy(
        "auto", "qwen2.5:0.5b", "--profile", profile, "--registry", registry.url, env=env
    )
    assert "not for good" in again.stderr
    assert run_deploy("status", "--check", "--profile", profile, env=env).returncode == 0


def test_a_name_that_another_home_made_is_left_to_it(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    tiny_models: dict[str, TinyModel],
    profile: Path,
) -> None:
    theirs = "deploy/qwen2.5:0.5b-ctx2048"
    tiny.create(server, tiny_models["qwen2.5:0.5b"])
    server.client().create(theirs, from_="qwen2.5:0.5b", parameters={"num_ctx": 2048, "seed": 7})
    before = {m.model: m.digest for m in server.client().list().models}
    found = run_deploy(
        "auto", "qwen2.5:0.5b", "--profile", profile, "--registry", registry.url, "--context",
        "2048", "--json", env={"OLLAMA_HOST": server.url}, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    deployed = answer(found, "deployment")
    assert deployed["model"].startswith(f"{theirs}-")
    after = {m.model: m.digest for m in server.client().list().models}
    assert after[theirs] == before[theirs] != deployed["digest"]
