"""`deploy remove`: what deploy brought goes, what it found stays, and a kill leaves no half."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.runtime.runner import runners_of
from orchestrator.store import Store
from tests.conftest import RunDeploy
from tests.loop.answers import answer, chat
from tests.loop.deployed import ALIAS, deploy, digests, in_memory, names
from tests.real import tiny
from tests.real.server import RealServer, bare_environment
from tests.real.tiny import TinyModel

_HERE = Path(__file__)


@pytest.fixture
def only(server: RealServer, home: Home, tiny_models: dict[str, TinyModel]) -> dict[str, Any]:
    """A deployment of a model that deploy downloaded."""
    return deploy(server, home, tiny_models["qwen2.5:0.5b"])


def test_what_serves_is_taken_away_with_its_download_and_said_to_be_gone(
    run_deploy: RunDeploy, server: RealServer, home: Home, only: dict[str, Any]
) -> None:
    env = {"OLLAMA_HOST": server.url}
    found = run_deploy("remove", env=env)
    assert found.returncode == 0, found.stderr
    assert names(server) == set()
    assert in_memory(server) == set()
    assert not any((server.models / "blobs").iterdir())
    assert [d["state"] for d in Ledger(home.ledger).deployments(9)] == ["removed"]
    size = sum(layer["size_bytes"] for layer in only["layers"])
    assert found.stdout.splitlines() == [
        f"removed   qwen2.5:0.5b, deployed {only['deployed_at']}",
        f"taken     {ALIAS}",
        f"taken     {only['model']}",
        "taken     qwen2.5:0.5b",
        f"freed     {size / 1e6:.0f} MB",
    ]
    again = run_deploy("remove", "--json", env=env)
    assert again.returncode == 2
    error = answer(again, "error")["error"]
    assert error["name"] == "NothingDeployed"
    assert error["hint"] == "deploy one with `deploy auto`"
    assert "removed" in run_deploy("history", env=env).stdout


def test_a_model_that_was_there_before_stays(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    deploy(server, home, tiny_models["qwen2.5:0.5b"], source="the server's store")
    found = run_deploy("remove", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert names(server) == {"qwen2.5:0.5b"}
    assert "qwen2.5:0.5b stays: it was on the server before" in found.stdout


@pytest.mark.usefixtures("only")
def test_a_tag_that_was_pulled_anew_by_somebody_stays(
    run_deploy: RunDeploy, server: RealServer
) -> None:
    server.client().create("qwen2.5:0.5b", from_="qwen2.5:0.5b", system="newer")
    found = run_deploy("remove", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert names(server) == {"qwen2.5:0.5b"}
    assert "qwen2.5:0.5b stays: it was pulled anew since" in found.stdout


def test_rollback_brings_the_one_before_back(
    run_deploy: RunDeploy,
    server: RealServer,
    only: dict[str, Any],
    home: Home,
    tiny_models: dict[str, TinyModel],
) -> None:
    after = deploy(server, home, tiny_models["qwen3:0.6b"])
    env = {"OLLAMA_HOST": server.url}
    found = run_deploy("remove", "--json", env=env)
    assert found.returncode == 0, found.stderr
    document = answer(found, "deployment")
    assert (document["id"], document["state"]) == (after["id"], "removed")
    assert names(server) == {"qwen2.5:0.5b", only["model"]}
    nothing = run_deploy("remove", env=env)
    assert nothing.returncode == 2
    assert f"hint: `deploy rollback` brings {only['model']} back" in nothing.stderr
    back = run_deploy("rollback", "--json", env=env)
    assert back.returncode == 0, back.stderr
    assert answer(back, "deployment")["id"] == only["id"]
    assert answer(back, "deployment")["rolled_back_from"] is None
    assert chat(server, "deploy-current") == "deploy-current"
    assert run_deploy("status", "--check", env=env).returncode == 0


@pytest.mark.usefixtures("only")
@pytest.mark.parametrize("name", ["qwen2.5:0.5b", "deploy/QWEN2.5:0.5b-ctx2048"])
def test_the_one_before_is_named_by_tag_or_model_and_what_serves_stays(
    run_deploy: RunDeploy,
    server: RealServer,
    home: Home,
    tiny_models: dict[str, TinyModel],
    name: str,
) -> None:
    after = deploy(server, home, tiny_models["qwen3:0.6b"])
    found = run_deploy("remove", name, env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert names(server) == {ALIAS, "qwen3:0.6b", after["model"]}
    assert f"{after['model']} serves as before" in found.stdout
    assert in_memory(server) == {after["digest"]}
    assert Ledger(home.ledger).previous(server.url, ALIAS) is None


def test_a_download_that_the_one_before_is_made_of_stays(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    before = deploy(server, home, tiny_models["qwen3:0.6b"], context=1024)
    deploy(server, home, tiny_models["qwen3:0.6b"], context=2048)
    found = run_deploy("remove", "deploy-current", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert names(server) == {"qwen3:0.6b", before["model"]}
    assert f"qwen3:0.6b stays: {before['model']} is made from it" in found.stdout


def test_a_runner_that_is_also_the_serving_ones_stays(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    model = tiny_models["qwen3:0.6b"]
    before = deploy(server, home, model)
    server.client().create("qwen3:0.6b-terse", from_=model.tag, system="Be terse.")
    deploy(server, home, replace(model, spec=replace(model.spec, tag="qwen3:0.6b-terse")))
    assert in_memory(server) == {before["digest"]}  # by whose name it was loaded first
    found = run_deploy("remove", model.tag, env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert [r.blob for r in runners_of(server.pid)] == [model.digest]
    assert chat(server, "deploy-current") == "deploy-current"


def test_after_a_rollback_that_was_killed_the_alias_goes_back_to_what_serves(
    run_deploy: RunDeploy,
    server: RealServer,
    only: dict[str, Any],
    home: Home,
    tiny_models: dict[str, TinyModel],
) -> None:
    after = deploy(server, home, tiny_models["qwen3:0.6b"])
    server.client().copy(only["model"], ALIAS)
    found = run_deploy("remove", "qwen2.5:0.5b", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert digests(server)[ALIAS] == after["digest"]
    assert names(server) == {ALIAS, "qwen3:0.6b", after["model"]}


def test_a_derived_model_that_another_alias_needs_stays(
    run_deploy: RunDeploy,
    server: RealServer,
    home: Home,
    only: dict[str, Any],
    tiny_models: dict[str, TinyModel],
) -> None:
    chat_alias = "deploy-chat:latest"
    server.client().copy(only["model"], chat_alias)
    deploy(server, home, tiny_models["qwen2.5:0.5b"], alias=chat_alias)
    found = run_deploy("remove", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert names(server) == {chat_alias, only["model"], "qwen2.5:0.5b"}
    assert f"{only['model']} stays: {chat_alias} needs it" in found.stdout
    assert in_memory(server) == {only["digest"]}


def test_a_derived_model_that_somebody_elses_alias_names_stays(
    run_deploy: RunDeploy, server: RealServer, only: dict[str, Any]
) -> None:
    server.client().copy(only["model"], "theirs")
    found = run_deploy("remove", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert names(server) == {"theirs:latest", only["model"]}
    assert f"{only['model']} stays: theirs:latest is the same" in found.stdout
    assert chat(server, "theirs") == "theirs"


def test_a_name_that_is_not_deployed_is_exit_2(
    run_deploy: RunDeploy, server: RealServer, only: dict[str, Any]
) -> None:
    found = run_deploy("remove", "qwen3:8b", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 2
    assert f"error: qwen3:8b is not deployed at {server.url}" in found.stderr
    assert only["model"] in found.stderr
    assert ALIAS in names(server)
    assert run_deploy("remove", "a b", env={"OLLAMA_HOST": server.url}).returncode == 2


@pytest.mark.usefixtures("only")
def test_an_alias_that_names_somebody_elses_model_is_left_alone(
    run_deploy: RunDeploy,
    server: RealServer,
    tiny_models: dict[str, TinyModel],
) -> None:
    server.client().copy(tiny.create(server, tiny_models["qwen3:0.6b"]), ALIAS)
    found = run_deploy("remove", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert names(server) == {ALIAS, "qwen3:0.6b"}
    assert f"{ALIAS} names another model by now" in found.stdout


@pytest.mark.usefixtures("only")
def test_torn_names_go_as_files(run_deploy: RunDeploy, server: RealServer) -> None:
    manifests = server.models / "manifests" / "registry.ollama.ai"
    for path in ("library/deploy-current/latest", "deploy/qwen2.5/0.5b-ctx2048"):
        (manifests / path).write_bytes(b"")
    found = run_deploy("remove", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stderr
    assert names(server) == set()
    assert Store(server.models).torn() == []


@pytest.mark.parametrize(
    ("where", "moment", "number"),
    [
        ("orchestrator.server.Server.unload", "after", 1),
        ("orchestrator.server.Server.delete", "after", 1),
        ("orchestrator.server.Server.delete", "after", 2),
        ("orchestrator.server.Server.delete", "after", 3),
        ("orchestrator.ledger.Ledger.end", "before", 1),
    ],
)
def test_killed_at_any_instant_it_is_finished_by_the_same_command(
    run_deploy: RunDeploy,
    server: RealServer,
    home: Home,
    only: dict[str, Any],
    where: str,
    moment: str,
    number: int,
) -> None:
    ours = {"OLLAMA_HOST": server.url, "DEPLOY_HOME": str(home.data.parent)}
    arguments = (where, moment, str(number), "remove")
    killed = subprocess.run(
        [sys.executable, _HERE.with_name("killed_at.py"), *arguments],
        env=bare_environment(server.home) | ours | {"PYTHONPATH": str(_HERE.parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = run_deploy("remove", "--json", env=ours)
    assert again.returncode == 0, again.stderr
    assert answer(again, "deployment")["id"] == only["id"]
    assert digests(server) == {}
    assert not any((server.models / "blobs").iterdir())
    assert Ledger(home.ledger).in_use(server.url) == []
