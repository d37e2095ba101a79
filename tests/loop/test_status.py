"""`deploy status --check`: what breaks the promise is exit 7, and each reason is named."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.server import Server
from tests.conftest import RunDeploy
from tests.loop.answers import answer, chat
from tests.loop.deployed import ALIAS, deploy, digests, in_memory
from tests.real import tiny
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyModel


@pytest.fixture
def only(server: RealServer, home: Home, tiny_models: dict[str, TinyModel]) -> dict[str, Any]:
    return deploy(server, home, tiny_models["qwen3:0.6b"])


def test_what_holds_is_exit_0_and_quick_and_changes_nothing(
    run_deploy: RunDeploy, server: RealServer, only: dict[str, Any]
) -> None:
    env = {"OLLAMA_HOST": server.url}
    before, log = digests(server), server.log_text()
    began = time.monotonic()
    found = run_deploy("status", "--check", "--json", env=env)
    assert time.monotonic() - began < 3
    assert found.returncode == 0, found.stdout
    status = answer(found, "status")
    assert (status["serving"], status["holds"]) == (True, True)
    assert status["findings"] == status["notes"] == []
    assert status["deployment"]["id"] == only["id"]
    assert digests(server) == before
    assert "POST" not in server.log_text().removeprefix(log)
    text = run_deploy("status", env=env).stdout
    assert "holds     yes" in text


def test_a_clients_request_does_not_break_it(
    run_deploy: RunDeploy, server: RealServer, only: dict[str, Any]
) -> None:
    chat(server, "deploy-current")
    found = run_deploy("status", "--check", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stdout
    assert only["model"] in found.stdout


def _other_context(server: RealServer) -> None:
    server.client().generate("deploy-current", "a", options={"num_ctx": 1024, "num_predict": 1})


def _short_keep_alive(server: RealServer) -> None:
    server.client().generate("deploy-current", "a", keep_alive="1m", options={"num_predict": 1})


def _unloaded(server: RealServer) -> None:
    Server(server.url).unload("deploy/qwen3:0.6b-ctx2048")


def _gone(server: RealServer) -> None:
    server.client().delete(ALIAS)


def _torn(server: RealServer) -> None:
    manifests = server.models / "manifests" / "registry.ollama.ai" / "library"
    (manifests / "deploy-current" / "latest").write_bytes(b"")


def _copied_over(server: RealServer) -> None:
    server.client().copy("qwen3:0.6b", ALIAS)


def _both_moved(server: RealServer) -> None:
    for name in (ALIAS, "deploy/qwen3:0.6b-ctx2048"):
        server.client().copy("qwen3:0.6b", name)


def _model_gone(server: RealServer) -> None:
    server.client().delete("deploy/qwen3:0.6b-ctx2048")


@pytest.mark.usefixtures("only")
@pytest.mark.parametrize(
    ("disturb", "said", "serving"),
    [
        (
            _other_context,
            "a context of 1024 tokens, not 2048: a client sends options.num_ctx",
            True,
        ),
        (_short_keep_alive, "will leave memory: a client overwrote its keep_alive", True),
        (_unloaded, "is not in memory, and was to stay there", True),
        (_gone, f"the alias {ALIAS} is gone or torn", False),
        (_torn, f"the alias {ALIAS} is gone or torn", False),
        (_copied_over, f"the alias {ALIAS} is another model", False),
        (_both_moved, f"the alias {ALIAS} is another model", False),
        (_model_gone, "deploy/qwen3:0.6b-ctx2048 is gone or torn", True),
    ],
)
def test_what_no_longer_holds_is_exit_7_with_its_reason_and_the_next_command(
    run_deploy: RunDeploy,
    server: RealServer,
    disturb: Callable[[RealServer], None],
    said: str,
    serving: bool,
) -> None:
    disturb(server)
    env = {"OLLAMA_HOST": server.url}
    found = run_deploy("status", "--check", "--json", env=env)
    assert found.returncode == 7
    status = answer(found, "status")
    assert (status["holds"], status["serving"]) == (False, serving)
    [finding] = [f for f in status["findings"] if said in f]
    assert "`deploy auto`" in finding
    plain = run_deploy("status", env=env)
    assert plain.returncode == 0
    assert finding in plain.stdout
    assert "holds     NO" in plain.stdout


@pytest.mark.usefixtures("only")
def test_a_profile_that_pins_nothing_may_have_nothing_in_memory(
    run_deploy: RunDeploy, server: RealServer, home: Home
) -> None:
    profile = home.data.parent / "unpinned.toml"
    profile.write_text('keep_alive = "5m"\n')
    for disturb in (_short_keep_alive, _unloaded):
        disturb(server)
        found = run_deploy(
            "status", "--check", "--profile", profile, env={"OLLAMA_HOST": server.url}
        )
        assert found.returncode == 0, found.stdout


def test_other_slots_than_were_deployed_are_found(
    run_deploy: RunDeploy, server: RealServer, only: dict[str, Any]
) -> None:
    server.stop()
    server.settings["OLLAMA_NUM_PARALLEL"] = "2"
    server.start()
    Server(server.url).load(only["model"], options=only["settings"], keep_alive=-1)
    found = run_deploy("status", "--check", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 7
    assert "is in memory with 2 slots, not 1" in found.stdout


def test_the_tag_beside_it_and_a_newer_server_are_notes(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    deploy(server, home, tiny_models["qwen3:0.6b"], context=1024, server_version="0.9.2")
    profile = home.data.parent / "unpinned.toml"
    profile.write_text('keep_alive = "5m"\n')
    server.client().generate("qwen3:0.6b", "a", options={"num_predict": 1})
    found = run_deploy(
        "status", "--check", "--json", "--profile", profile, env={"OLLAMA_HOST": server.url}
    )
    assert found.returncode == 0, found.stdout
    tag, version = answer(found, "status")["notes"]
    assert "qwen3:0.6b itself is loaded beside deploy/qwen3:0.6b-ctx1024" in tag
    assert "Ollama 0.9.3 now, and was 0.9.2" in version


def test_a_failed_verification_counts_until_one_passes(
    run_deploy: RunDeploy, server: RealServer, home: Home, only: dict[str, Any]
) -> None:
    env = {"OLLAMA_HOST": server.url}
    ledger = Ledger(home.ledger)
    check = {"name": "memory", "outcome": "failed", "detail": "9 GiB, 1 GiB at deployment"}
    seen = {"deployment": only["id"], "verified_at": "2026-11-25T03:00:00Z", "damaged": []}
    ledger.record_verification(seen | {"checks": [check]})
    found = run_deploy("status", "--check", "--json", env=env)
    assert found.returncode == 7
    said = "`deploy verify` found at 2026-11-25T03:00:00Z: 9 GiB, 1 GiB at deployment"
    assert answer(found, "status")["findings"] == [said]
    # What this look sees itself is not held against a deployment that was put right since.
    ledger.record_verification(seen | {"checks": [check | {"name": "names"}]})
    assert run_deploy("status", "--check", env=env).returncode == 0


def test_nothing_deployed_is_exit_2_and_no_server_exit_4(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    env = {"OLLAMA_HOST": server.url}
    nothing = run_deploy("status", "--check", "--json", env=env)
    assert nothing.returncode == 2
    assert answer(nothing, "error")["error"]["name"] == "NothingDeployed"
    deploy(server, home, tiny_models["qwen2.5:0.5b"])
    server.stop()
    gone = run_deploy("status", "--check", "--json", env=env)
    assert gone.returncode == 4
    assert answer(gone, "error")["error"]["name"] == "ServerUnreachable"
    plain = run_deploy("status", "--json", env=env)
    assert plain.returncode == 0
    status = answer(plain, "status")
    assert (status["holds"], status["serving"]) == (False, False)
    assert status["server"]["answering"] is False


def test_history_has_a_line_for_every_state(
    run_deploy: RunDeploy, server: RealServer, home: Home, only: dict[str, Any]
) -> None:
    ledger = Ledger(home.ledger)
    unmeasured = {**only, "measured": None, "verdict": None, "state": "candidate"}
    ledger.begin(unmeasured, {"name": "a box"})
    ledger.end(ledger.begin(unmeasured, {"name": "a box"}), "failed", "the run was killed")
    ledger.end(ledger.begin(only, {"name": "a box"}), "removed")
    env = {"OLLAMA_HOST": server.url}
    text = run_deploy("history", env=env).stdout
    rows = {line.split()[1]: line for line in text.splitlines()[1:]}
    assert rows.keys() == {"current", "candidate", "failed", "removed"}
    assert rows["failed"].endswith("the run was killed")
    assert rows["candidate"].split()[3:] == ["-", "-"]
    assert answer(run_deploy("history", "--json", env=env), "history")["deployments"]


def test_a_server_elsewhere_is_nobodys_deployment(run_deploy: RunDeploy) -> None:
    env = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}"}
    status = answer(run_deploy("status", "--json", env=env), "status")
    assert status["deployment"] is None
    assert status["holds"] is False


def test_a_model_in_memory_under_another_name_is_told_by_its_digest(
    run_deploy: RunDeploy,
    server: RealServer,
    only: dict[str, Any],
    tiny_models: dict[str, TinyModel],
) -> None:
    Server(server.url).unload(only["model"])
    tiny.create(server, tiny_models["qwen2.5:0.5b"])
    Server(server.url).load("deploy-current", keep_alive=-1)
    assert in_memory(server) == {only["digest"]}
    found = run_deploy("status", "--check", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stdout
