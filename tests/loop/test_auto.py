"""The whole loop on a real server and a real registry, with stand-ins of a few megabytes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.lock import only_one
from orchestrator.schema import load
from tests.conftest import RunDeploy
from tests.loop.answers import answer, chat
from tests.real import tiny
from tests.real.registry import Registry
from tests.real.server import RealServer, bare_environment, free_port
from tests.real.tiny import TinyCatalog, TinyModel

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def profile(tiny_catalog: TinyCatalog, tmp_path: Path) -> Path:
    """The tiny catalogue, without a floor in speed: what is tested here is not speed."""
    path = tmp_path / "tiny.toml"
    catalog = json.dumps(str(tiny_catalog.path))
    path.write_text(f"catalog = {catalog}\nmin_tps = 0\nvalidation_s = 2\n")
    return path


def test_the_largest_that_fits_is_deployed_measured_and_recorded_and_a_second_run_changes_nothing(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, profile: Path, home: Home
) -> None:
    arguments = ("auto", "--profile", profile, "--registry", registry.url, "--json")
    env = {"OLLAMA_HOST": server.url}
    first = run_deploy(*arguments, env=env, timeout=300)
    assert first.returncode == 0, first.stderr
    deployed = answer(first, "deployment")
    assert deployed["tag"] == "deepseek-r1:7b"
    assert deployed["model"] == "deploy/deepseek-r1:7b-ctx4096"
    assert deployed["verdict"]["outcome"] in ("passed", "warned")
    resident = deployed["measured"]["resident_bytes"]
    assert abs(resident - deployed["planned"]["resident_bytes"]) / resident < 0.10
    assert chat(server, "deploy-current") == "deploy-current"

    log, pulled = server.log_text(), len(registry.requests())
    rows = Ledger(home.ledger)
    before = (len(rows.deployments(99)), len(rows.bench_runs(99)))
    second = run_deploy(*arguments, env=env)
    assert second.returncode == 0, second.stderr
    assert answer(second, "deployment")["changed"] is False
    later = server.log_text().removeprefix(log)
    for request in ("/api/pull", "/api/create", "/api/generate", "/api/copy", "/v1/"):
        assert request not in later
    assert len(registry.requests()) == pulled
    assert (len(rows.deployments(99)), len(rows.bench_runs(99))) == before == (1, 1)

    status = answer(run_deploy("status", "--json", env=env), "status")
    assert status["serving"] is True
    assert status["findings"] == []
    history = answer(run_deploy("history", "--json", env=env), "history")
    assert history["bench_runs"][0]["deployment"] == deployed["id"]
    jsonschema.validate(history["bench_runs"][0], load("bench"))
    client = answer(run_deploy("env", "--json", env=env), "env")
    assert client["model"] == "deploy-current"
    assert deployed["model"] in client["note"]


def test_a_registry_that_lacks_the_first_choice_gives_the_second(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    profile: Path,
    tiny_catalog: TinyCatalog,
) -> None:
    document = json.loads(json.dumps(tiny_catalog.document))
    first = next(m for m in document["models"] if m["name"] == "deepseek-r1:7b")
    first["name"] = "deepseek-r1:8b"
    first["variants"][0]["tags"] = ["8b"]
    path = profile.with_name("absent.json")
    path.write_text(json.dumps(document))
    profile.write_text(f'catalog = "{path.name}"\nmin_tps = 0\nvalidation_s = 2\n')
    found = run_deploy(
        "auto", "--profile", profile, "--registry", registry.url, "--json",
        env={"OLLAMA_HOST": server.url}, timeout=300,
    )  # fmt: skip
    deployed = answer(found, "deployment")
    assert deployed["tag"] == "deepseek-r1:1.5b-qwen-distill-q8_0"
    gone = next(r for r in deployed["rejected"] if r["tag"] == "deepseek-r1:8b")
    assert gone["reason"] == "unavailable"


def test_a_registry_that_holds_nothing_ends_with_every_tag_tried(
    run_deploy: RunDeploy, server: RealServer, profile: Path, tmp_path: Path
) -> None:
    with Registry(tmp_path / "empty") as empty:
        found = run_deploy(
            "auto", "--profile", profile, "--registry", empty.url, "--json",
            env={"OLLAMA_HOST": server.url},
        )  # fmt: skip
    assert found.returncode == 5
    error = answer(found, "error")["error"]
    assert error["name"] == "PullFailed"
    assert len(error["details"]["tried"]) == 5
    assert "the registry does not have it" in error["message"]


def test_a_named_tag_that_the_registry_lacks_is_not_replaced_by_another(
    run_deploy: RunDeploy, server: RealServer, profile: Path, tmp_path: Path
) -> None:
    with Registry(tmp_path / "empty") as empty:
        found = run_deploy(
            "auto", "qwen3:0.6b", "--profile", profile, "--registry", empty.url,
            env={"OLLAMA_HOST": server.url},
        )  # fmt: skip
    assert found.returncode == 5
    assert f"error: {empty.host}/library/qwen3:0.6b: the registry does not have it" in found.stderr


def test_an_unreachable_registry_is_named_with_its_reason(
    run_deploy: RunDeploy, server: RealServer, profile: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    found = run_deploy(
        "auto", "--profile", profile, "--registry", nobody, "--json",
        env={"OLLAMA_HOST": server.url},
    )  # fmt: skip
    assert found.returncode == 5
    error = answer(found, "error")["error"]
    assert nobody in error["message"]
    assert "connection refused" in error["message"]
    assert "--fallback starter" in error["hint"]


def test_the_starter_is_deployed_when_no_source_is_reachable_and_says_so(
    run_deploy: RunDeploy, server: RealServer, profile: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    arguments = ("auto", "--profile", profile, "--registry", nobody, "--fallback", "starter")
    env = {"OLLAMA_HOST": server.url}
    found = run_deploy(*arguments, "--json", env=env, timeout=400)
    assert found.returncode == 0, found.stderr
    deployed = answer(found, "deployment")
    assert deployed["source"] == "starter model"
    assert "NO MODEL SOURCE DELIVERED" in found.stderr
    resident = deployed["measured"]["resident_bytes"]
    assert abs(resident - deployed["planned"]["resident_bytes"]) / resident < 0.10
    assert chat(server, "deploy-current") == "deploy-current"
    again = run_deploy(*arguments, "--json", env=env)
    assert answer(again, "deployment")["changed"] is False


def test_the_starter_never_replaces_a_model_that_serves(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, profile: Path
) -> None:
    env = {"OLLAMA_HOST": server.url}
    good = ("auto", "qwen2.5:0.5b", "--profile", profile, "--registry", registry.url)
    assert run_deploy(*good, env=env, timeout=300).returncode == 0
    nobody = f"http://127.0.0.1:{free_port()}"
    found = run_deploy(
        "auto", "--profile", profile, "--registry", nobody, "--fallback", "starter", env=env
    )
    assert found.returncode == 5
    assert "qwen2.5:0.5b keeps serving" in found.stderr
    status = answer(run_deploy("status", "--json", env=env), "status")
    assert (status["serving"], status["deployment"]["tag"]) == (True, "qwen2.5:0.5b")


def test_another_model_under_the_right_tag_is_not_deployed_as_it(
    run_deploy: RunDeploy, server: RealServer, tiny_models: dict[str, TinyModel], profile: Path
) -> None:
    tiny.create(server, tiny_models["qwen3:0.6b"], "deepseek-r1:7b")
    nobody = f"http://127.0.0.1:{free_port()}"
    found = run_deploy(
        "auto", "--profile", profile, "--registry", nobody, env={"OLLAMA_HOST": server.url}
    )
    assert found.returncode != 0
    assert "what the server has under deepseek-r1:7b is qwen3" in found.stderr


def test_an_interrupted_validation_leaves_nothing_unproven(
    server: RealServer, registry: Registry, profile: Path, home: Home, tmp_path: Path
) -> None:
    profile.write_text(profile.read_text().replace("validation_s = 2", "validation_s = 60"))
    run = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "auto", "qwen3:0.6b", "--profile", profile,
         "--registry", registry.url],
        env=bare_environment(tmp_path) | {
            "OLLAMA_HOST": server.url,
            "DEPLOY_HOME": str(home.data.parent),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert run.stderr
    for line in run.stderr:
        if line.startswith("loading"):
            break
    time.sleep(2)
    run.send_signal(signal.SIGTERM)
    said = run.stderr.read()
    run.stderr.close()
    assert run.wait(60) == 143
    assert "error: terminated by SIGTERM" in said
    assert not server.client().ps().models
    assert {m.model for m in server.client().list().models} == {"qwen3:0.6b"}


def test_a_promise_that_no_measurement_keeps_steps_down_through_all_and_the_old_alias_serves(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, profile: Path
) -> None:
    env = {"OLLAMA_HOST": server.url}
    shared = ("--profile", profile, "--registry", registry.url, "--json")
    assert run_deploy("auto", "qwen2.5:0.5b", *shared, env=env, timeout=300).returncode == 0
    strict = 'families = [["qwen3"], ["qwen2.5"]]\nmemory_pass = 0\nmemory_warn = 0\n'
    profile.write_text(f"{profile.read_text()}{strict}")
    found = run_deploy("auto", *shared, env=env, timeout=600)
    assert found.returncode == 7, found.stderr
    assert answer(found, "error")["error"]["name"] == "PromiseBroken"
    assert found.stderr.count("stepping down") == 2
    assert chat(server, "deploy-current") == "deploy-current"
    status = answer(run_deploy("status", "--json", env=env), "status")
    assert status["deployment"]["tag"] == "qwen2.5:0.5b"
    assert status["serving"] is True


def test_nothing_fits_names_the_nearest_and_what_it_is_short_of(
    run_deploy: RunDeploy, server: RealServer, profile: Path
) -> None:
    found = run_deploy(
        "auto", "--profile", profile, "--max-memory", "1MiB", env={"OLLAMA_HOST": server.url}
    )
    assert found.returncode == 3
    assert "error: nothing fits in 1.0 MiB" in found.stderr
    assert "qwen2.5:0.5b" in found.stderr
    assert "short by" in found.stderr
    assert "hint: " in found.stderr


@pytest.mark.parametrize("where", ["the same home", "another home"])
@pytest.mark.parametrize("command", ["auto", "bench"])
def test_a_second_run_at_the_same_time_is_told_by_whom(
    run_deploy: RunDeploy,
    server: RealServer,
    profile: Path,
    home: Home,
    tmp_path: Path,
    where: str,
    command: str,
) -> None:
    other = Home.of({"DEPLOY_HOME": str(tmp_path / "other")})
    env = {"OLLAMA_HOST": server.url}
    asked = [command, "qwen3:0.6b", "--profile", str(profile)]
    with only_one(home if where == "the same home" else other, env, "auto"):
        found = run_deploy(*asked, env=env)
        planned = run_deploy("plan", "--profile", profile, env=env)
    assert found.returncode == 75, found.stderr
    assert "error: another run holds" in found.stderr
    assert re.search(rf"\(`deploy auto`, pid {os.getpid()}, since 20\d\d-\S+Z\)", found.stderr)
    assert planned.returncode == 0  # what only reads never waits
    after = run_deploy(*asked, env=env)
    assert after.returncode != 75


def test_a_dry_run_prints_the_plan_and_touches_nothing(
    run_deploy: RunDeploy, server: RealServer, profile: Path, home: Home
) -> None:
    found = run_deploy(
        "auto", "--dry-run", "--profile", profile, "--json", env={"OLLAMA_HOST": server.url}
    )
    assert answer(found, "plan")["chosen"]["tag"] == "deepseek-r1:7b"
    assert not home.ledger.exists()
    assert "| POST" not in server.log_text()
