"""`deploy verify`: every promise looked at, by the bytes on disk and the processes of a server."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.terminal import Plain
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.profile import Profile
from orchestrator.server import Server
from orchestrator.site import Site
from orchestrator.store import Store
from orchestrator.verify import verify
from tests.conftest import RunDeploy
from tests.loop.answers import answer
from tests.loop.deployed import ALIAS, deploy, digests, in_memory
from tests.real import tiny
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyModel


@pytest.fixture
def only(server: RealServer, home: Home, tiny_models: dict[str, TinyModel]) -> dict[str, Any]:
    return deploy(server, home, tiny_models["qwen3:0.6b"])


def outcomes(document: Any) -> dict[str, str]:
    return {c["name"]: c["outcome"] for c in document["checks"]}


def detail(document: Any, name: str) -> str:
    [check] = [c for c in document["checks"] if c["name"] == name]
    return str(check["detail"])


def test_what_holds_passes_every_check_and_is_noted(
    run_deploy: RunDeploy, server: RealServer, home: Home, only: dict[str, Any]
) -> None:
    env = {"OLLAMA_HOST": server.url}
    log = server.log_text()
    found = run_deploy("verify", "--json", env=env)
    assert found.returncode == 0, found.stdout + found.stderr
    document = answer(found, "verify")
    assert document["outcome"] == "passed"
    assert set(outcomes(document).values()) == {"passed"}
    assert len(document["checks"]) == 7
    assert document["damaged"] == []
    assert f"{len(only['layers'])} files" in detail(document, "layers")
    size = sum(x["size_bytes"] for x in only["layers"])
    assert f"hashing the files: {size / 1e6:.0f} MB of {size / 1e6:.0f} MB, 100 %" in found.stderr
    assert Ledger(home.ledger).verification(only["id"]) == document
    later = server.log_text().removeprefix(log)
    assert later.count("/v1/chat/completions") == 1
    for request in ("/api/generate", "/api/create", "/api/copy", "/api/pull", "/api/delete"):
        assert request not in later
    text = run_deploy("verify", env=env).stdout
    assert "memory    passed      peak of the runner" in text
    assert "verdict   passed at " in text


def test_a_flipped_byte_is_found_by_its_digest(
    run_deploy: RunDeploy, server: RealServer, home: Home, only: dict[str, Any]
) -> None:
    blob = Store(server.models).blob(only["blob"])
    whole = bytearray(blob.read_bytes())
    whole[-1] ^= 1
    blob.write_bytes(whole)
    env = {"OLLAMA_HOST": server.url}
    found = run_deploy("verify", "--json", env=env)
    assert found.returncode == 7
    document = answer(found, "verify")
    assert document["outcome"] == "failed"
    assert document["damaged"] == [only["blob"]]
    assert only["blob"] in detail(document, "layers")
    assert "`deploy auto` fetches what is damaged again" in detail(document, "layers")
    status = run_deploy("status", "--check", "--json", env=env)
    assert status.returncode == 7
    assert any(only["blob"] in f for f in answer(status, "status")["findings"])
    # Without a new look at the files what is known of them stays known.
    server.stop()
    run_deploy("verify", env=env)
    last = Ledger(home.ledger).verification(only["id"])
    assert last
    assert last["damaged"] == [only["blob"]]


@pytest.mark.parametrize("fault", ["missing", "short"])
def test_a_blob_that_is_missing_or_short_is_said_with_its_size(
    run_deploy: RunDeploy, server: RealServer, only: dict[str, Any], fault: str
) -> None:
    small = min(only["layers"], key=lambda x: x["size_bytes"])
    path = Store(server.models).blob(small["digest"])
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    document = answer(run_deploy("verify", "--json", env={"OLLAMA_HOST": server.url}), "verify")
    assert document["damaged"] == [small["digest"]]
    size = small["size_bytes"]
    said = "is missing" if fault == "missing" else f"has {size - 1} bytes instead of {size}"
    assert said in detail(document, "layers")


def test_an_unloaded_model_is_loaded_as_it_was_deployed(
    run_deploy: RunDeploy, server: RealServer, only: dict[str, Any]
) -> None:
    env = {"OLLAMA_HOST": server.url}
    Server(server.url).unload(only["model"])
    found = run_deploy("verify", "--json", env=env)
    assert found.returncode == 0, found.stdout
    document = answer(found, "verify")
    assert "it was not there: loaded in " in detail(document, "in memory")
    assert in_memory(server) == {only["digest"]}
    assert run_deploy("status", "--check", env=env).returncode == 0


@pytest.mark.usefixtures("only")
def test_a_client_that_sent_another_context_is_found_and_put_right(
    run_deploy: RunDeploy, server: RealServer
) -> None:
    env = {"OLLAMA_HOST": server.url}
    server.client().generate("deploy-current", "a", options={"num_ctx": 1024, "num_predict": 1})
    found = run_deploy("verify", "--json", env=env)
    assert found.returncode == 7
    document = answer(found, "verify")
    assert "context of 1024 tokens, not 2048" in detail(document, "in memory")
    assert run_deploy("verify", env=env).returncode == 0


@pytest.mark.parametrize("fault", ["alias moved", "alias torn", "model gone"])
def test_names_that_broke_fail_and_no_stranger_is_asked(
    run_deploy: RunDeploy,
    server: RealServer,
    only: dict[str, Any],
    tiny_models: dict[str, TinyModel],
    fault: str,
) -> None:
    if fault == "alias moved":
        server.client().copy(tiny.create(server, tiny_models["qwen2.5:0.5b"]), ALIAS)
    elif fault == "alias torn":
        manifests = server.models / "manifests" / "registry.ollama.ai" / "library"
        (manifests / "deploy-current" / "latest").write_bytes(b"")
    else:
        server.client().delete(only["model"])
    found = run_deploy("verify", "--json", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 7
    document = answer(found, "verify")
    assert outcomes(document)["names"] == "failed"
    assert "`deploy auto` puts it back" in detail(document, "names")
    assert outcomes(document)["answer"] == ("passed" if fault == "model gone" else "failed")
    assert in_memory(server) == {only["digest"]}


def test_a_runner_that_takes_more_than_at_deployment_fails_and_less_does_not(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    env = {"OLLAMA_HOST": server.url}
    true = deploy(server, home, tiny_models["qwen3:0.6b"])
    for factor, code in ((0.5, 7), (2, 0)):
        resident = int(true["measured"]["resident_bytes"] * factor)
        measured = true["measured"] | {"resident_bytes": resident}
        deploy(server, home, tiny_models["qwen3:0.6b"], measured=measured)
        found = run_deploy("verify", "--json", env=env)
        assert found.returncode == code, found.stdout
        document = answer(found, "verify")
        assert outcomes(document)["memory"] == ("failed" if code else "passed")
        assert set(outcomes(document).values()) >= {"passed"}


def test_where_the_placement_differs_it_fails(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    deploy(server, home, tiny_models["qwen3:0.6b"], placement="gpu")
    found = run_deploy("verify", "--json", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 7
    document = answer(found, "verify")
    assert detail(document, "placement").startswith("on cpu instead of gpu")
    assert outcomes(document)["memory"] == "unverified"


def test_what_cannot_be_seen_is_unverified_and_never_passed(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    deploy(server, home, tiny_models["qwen3:0.6b"], blob=None)
    found = run_deploy("verify", "--json", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0
    document = answer(found, "verify")
    assert document["outcome"] == "unverified"
    assert outcomes(document)["memory"] == "unverified"
    assert "run deploy on its host, as its user" in detail(document, "memory")


def test_layers_without_a_record_are_those_of_the_same_manifest(
    run_deploy: RunDeploy, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    deployed = deploy(server, home, tiny_models["qwen3:0.6b"], layers=None)
    env = {"OLLAMA_HOST": server.url}
    assert outcomes(answer(run_deploy("verify", "--json", env=env), "verify"))["layers"] == "passed"
    server.client().delete(deployed["model"])
    lost = answer(run_deploy("verify", "--json", env=env), "verify")
    assert outcomes(lost)["layers"] == "unverified"


def test_a_store_out_of_sight_is_unverified_and_known_damage_stays_known(
    server: RealServer, home: Home, only: dict[str, Any]
) -> None:
    seen = {"deployment": only["id"], "verified_at": "2026-11-25T03:00:00Z", "checks": []}
    Ledger(home.ledger).record_verification(seen | {"damaged": [only["blob"]]})
    site = replace(Site.at(home, {"OLLAMA_HOST": server.url}), store_path=None)
    document = verify(site, Profile(name="default"), Plain())
    assert document["outcome"] == outcomes(document)["layers"] == "unverified"
    assert "it is not in sight; run deploy on its host" in detail(document, "layers")
    assert document["damaged"] == [only["blob"]]


@pytest.mark.usefixtures("only")
def test_a_server_that_is_gone_fails_and_the_rest_is_unknown(
    run_deploy: RunDeploy, server: RealServer
) -> None:
    server.stop()
    found = run_deploy("verify", "--json", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 7
    document = answer(found, "verify")
    assert outcomes(document) == {"server": "failed"} | dict.fromkeys(
        ("names", "layers", "in memory", "placement", "answer", "memory"), "unverified"
    )


def test_nothing_deployed_is_exit_2(run_deploy: RunDeploy) -> None:
    found = run_deploy("verify", env={"OLLAMA_HOST": f"127.0.0.1:{free_port()}"})
    assert found.returncode == 2
    assert "error: nothing is deployed as deploy-current" in found.stderr


def test_a_ledger_that_cannot_be_written_is_a_warning(
    run_deploy: RunDeploy, server: RealServer, home: Home, only: dict[str, Any]
) -> None:
    before = digests(server)
    # A folder where the journal must be made: also root cannot write this ledger.
    Ledger(home.ledger).verification(only["id"])
    for suffix in ("-wal", "-shm", "-journal"):
        path = Path(f"{home.ledger}{suffix}")
        path.unlink(missing_ok=True)
    Path(f"{home.ledger}-wal").mkdir()
    found = run_deploy("verify", "--json", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 0, found.stdout + found.stderr
    assert answer(found, "verify")["outcome"] == "passed"
    assert f"warning: the ledger {home.ledger} cannot be used" in found.stderr
    assert digests(server) == before
