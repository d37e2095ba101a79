"""Names of our making: the same model does not move again, another one is not replaced by it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RunDeploy
from tests.loop.answers import answer
from tests.real.hub import Fault, Hub
from tests.real.registry import Registry
from tests.real.safetensors import write_repository
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyModel


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "repositories") as hub:
        for org in ("acme", "other"):
            write_repository(hub.root / org / "tiny", shards=2, seed=len(org))
        yield hub


def _env(server: RealServer, hub: Hub) -> dict[str, str]:
    return {"OLLAMA_HOST": server.url, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}


def test_a_repository_that_is_there_does_not_move_again(
    run_deploy: RunDeploy, server: RealServer, hub: Hub
) -> None:
    asked, env = ("pull", "hf:acme/tiny", "--quantize", "Q8_0", "--json"), _env(server, hub)

    first = answer(run_deploy(*asked, env=env), "pull")
    sent_bytes = hub.sent_bytes
    would = answer(run_deploy(*asked, "--dry-run", env=env), "pull-forecast")
    again = run_deploy(*asked, env=env)

    second = answer(again, "pull")
    assert first["name"] == second["name"] == "tiny:q8_0"
    assert (second["fetched_bytes"], second["digest"]) == (0, first["digest"])
    assert set(second["hashed"]) == {each["digest"] for each in second["layers"]}
    assert would["sources"][0]["intent"]["download_bytes"] == 0
    assert "is on the server already" in again.stderr
    assert hub.sent_bytes - sent_bytes < 300_000  # listings and headers


def test_another_model_of_the_same_name_is_not_replaced_and_gets_a_name_of_its_own(
    run_deploy: RunDeploy, server: RealServer, hub: Hub
) -> None:
    env, more = _env(server, hub), ("--quantize", "F16", "--json")
    first = answer(run_deploy("pull", "hf:acme/tiny", *more, env=env), "pull")

    refused = run_deploy("pull", "hf:other/tiny", *more, env=env)
    second = answer(run_deploy("pull", "hf:other/tiny", "--as", "mine:1", *more, env=env), "pull")

    assert refused.returncode == 2
    said = answer(refused, "error")["error"]
    assert "tiny:f16 is on the server already, from hf:acme/tiny" in said["message"]
    assert "--as NAME" in said["hint"]
    assert second["name"] == "mine:1"
    digests = {m.model: m.digest for m in server.client().list().models}
    assert digests == {"tiny:f16": first["digest"], "mine:1": second["digest"]}


def test_a_hub_that_says_how_long_to_wait_is_not_waited_for_in_silence(
    run_deploy: RunDeploy, server: RealServer, hub: Hub
) -> None:
    hub.faults = [Fault("/api/models/", status=429, headers={"Retry-After": "3600"})]
    found = run_deploy("pull", "hf:acme/tiny", env=_env(server, hub), timeout=20)
    assert found.returncode == 5
    assert "asks to come back later" in found.stderr
    assert "60 min" in found.stderr or "1 h" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("qwen3:0.6b", "--quantize", "Q8_0"), "only safetensors are quantized here"),
        (("hf:acme/tiny", "--registry", "http://127.0.0.1:1"), "it does not come from a registry"),
        (("qwen3:0.6b", "--as", "mine"), "it has a name"),
        (("hf:acme/tiny", "--as", "a b"), "--as: 'a b' is not a model name"),
    ],
)
def test_a_flag_that_says_nothing_is_refused(
    run_deploy: RunDeploy, server: RealServer, arguments: tuple[str, ...], said: str
) -> None:
    found = run_deploy("pull", *arguments, env={"OLLAMA_HOST": server.url})
    assert found.returncode == 2
    assert said in found.stderr


def test_a_dry_run_that_no_source_can_follow_is_one_document_and_its_exit_code(
    run_deploy: RunDeploy, server: RealServer, registry: Registry
) -> None:
    asked = ("pull", "qwen3:999b", "--registry", registry.url, "--dry-run")
    env = {"OLLAMA_HOST": server.url}

    found = run_deploy(*asked, "--json", env=env)
    shown = run_deploy(*asked, env=env)

    assert found.returncode == shown.returncode == 5
    document = answer(found, "pull-forecast")
    assert document["chosen"] is None
    assert "qwen3" in document["sources"][0]["failure"]
    assert "error: " in shown.stderr


def test_a_dry_run_needs_no_server(run_deploy: RunDeploy, hub: Hub) -> None:
    env = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}", "HF_ENDPOINT": hub.url, "PATH": "/nowhere"}
    found = run_deploy("pull", "hf:acme/tiny", "--dry-run", "--json", env=env)
    [would] = answer(found, "pull-forecast")["sources"]
    assert would["intent"]["download_bytes"] > 5_000_000


def test_files_are_verified_without_a_server(
    run_deploy: RunDeploy, server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    env = {"OLLAMA_HOST": server.url, "OLLAMA_MODELS": str(server.models)}
    path = tiny_models["qwen3:0.6b"].path
    name = answer(run_deploy("pull", path, "--json", env=env), "pull")["name"]
    server.stop()

    found = run_deploy("verify", name, "--json", env=env)

    assert answer(found, "verified")["outcome"] == "passed"
