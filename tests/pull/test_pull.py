"""`deploy pull` and `deploy verify MODEL` through the real command line, server and registry."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.ledger.pulls import rate_bytes_per_s
from orchestrator.store import Store
from tests.conftest import RunDeploy
from tests.loop.answers import answer
from tests.real.registry import Registry
from tests.real.relay import Relay
from tests.real.server import RealServer, bare_environment, free_port
from tests.real.tiny import TinyModel

TAG = "deepseek-r1:7b"  # 33 MB: the largest of the tiny ones
SMALL = "qwen3:0.6b"
_REPOSITORY = Path(__file__).parents[2]
MB = 10**6


def test_what_is_pulled_is_verified_and_does_not_move_again(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    home: Home,
    tiny_models: dict[str, TinyModel],
) -> None:
    env, through = {"OLLAMA_HOST": server.url}, ("--registry", registry.url)

    first = answer(run_deploy("pull", TAG, *through, "--json", env=env), "pull")
    second = answer(run_deploy("pull", TAG, *through, "--json", env=env), "pull")

    size = tiny_models[TAG].path.stat().st_size
    assert (first["name"], first["source"], first["address"]) == (TAG, "mirror", registry.url)
    assert first["fetched_bytes"] == pytest.approx(size, abs=0.2 * MB)
    assert (first["outcome"], first["hashed"]) == ("verified", [])  # the server has just done so
    assert tiny_models[TAG].digest in {each["digest"] for each in first["layers"]}
    assert second["fetched_bytes"] == 0
    assert set(second["hashed"]) == {each["digest"] for each in second["layers"]}
    assert first["digest"] == second["digest"]
    rate = rate_bytes_per_s(Ledger(home.ledger), "mirror")
    assert rate == pytest.approx(first["rate_bytes_per_s"], rel=0.01)
    assert [m.model for m in server.client().list().models] == [TAG]


def test_a_damaged_file_is_told_by_verify_and_replaced_by_pull(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    tiny_models: dict[str, TinyModel],
) -> None:
    env, through = {"OLLAMA_HOST": server.url}, ("--registry", registry.url)
    answer(run_deploy("pull", SMALL, *through, "--json", env=env), "pull")
    blob = Store(server.models).blob(tiny_models[SMALL].digest)
    with blob.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damage")

    found = run_deploy("verify", SMALL, "--json", env=env)
    told = answer(found, "verified")
    mended = run_deploy("pull", SMALL, *through, "--json", env=env)
    after = run_deploy("verify", SMALL, env=env)

    assert (found.returncode, told["outcome"]) == (7, "failed")
    states = {each["digest"]: each["state"] for each in told["layers"]}
    assert states.pop(tiny_models[SMALL].digest) == "content"
    assert set(states.values()) == {"whole"}
    assert f"`deploy pull {SMALL}` fetches" in told["detail"]
    assert answer(mended, "pull")["outcome"] == "verified"
    assert "is damaged in the store" in mended.stderr
    assert after.returncode == 0
    assert after.stdout.startswith("passed")


def test_the_next_source_is_tried_and_what_the_first_said_is_kept(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, tmp_path: Path
) -> None:
    profile = tmp_path / "own.toml"
    nobody = f"127.0.0.1:{free_port()}"
    profile.write_text(
        'schema = 1\nsources = ["modelscope", "mirror"]\n'
        f'registry = "{registry.url}"\ngguf_host = "{nobody}"\n'
    )
    env = {"OLLAMA_HOST": server.url, "HTTPS_PROXY": f"http://{nobody}"}

    found = run_deploy("pull", SMALL, "--profile", profile, "--json", env=env)

    document = answer(found, "pull")
    assert document["source"] == "mirror"
    assert [each["source"] for each in document["tried"]] == ["modelscope"]
    assert f"trying {registry.url}" in found.stderr


def test_a_dry_run_says_what_would_move_and_moves_nothing(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
) -> None:
    env, through = {"OLLAMA_HOST": server.url}, ("--registry", registry.url)
    dry = ("pull", TAG, *through, "--dry-run", "--json")

    before = answer(run_deploy(*dry, env=env), "pull-forecast")
    moved = answer(run_deploy("pull", TAG, *through, "--json", env=env), "pull")
    after = answer(run_deploy(*dry, env=env), "pull-forecast")

    [would], [would_again] = before["sources"], after["sources"]
    assert before["chosen"] == "mirror"
    assert would["intent"]["download_bytes"] == pytest.approx(moved["fetched_bytes"], rel=0.01)
    assert would["seconds"] is None  # nothing was pulled from there yet
    assert (would_again["intent"]["download_bytes"], would_again["seconds"]) == (0, 0)
    assert would_again["rate_bytes_per_s"] == pytest.approx(moved["rate_bytes_per_s"], rel=0.01)
    text = run_deploy("pull", TAG, *through, "--dry-run", env=env).stdout
    assert "nothing to move" in text
    assert f"{TAG} would come from mirror" in text


def _popen(server: RealServer, deploy_home: Path, *arguments: str) -> "subprocess.Popen[str]":
    ours = {
        "OLLAMA_HOST": server.url,
        "DEPLOY_HOME": str(deploy_home),
        "PYTHONPATH": str(_REPOSITORY),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        env=bare_environment(server.home) | ours,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_pulls_of_one_model_share_one_download(
    server: RealServer, registry: Registry, tmp_path: Path, tiny_models: dict[str, TinyModel]
) -> None:
    with Relay(registry.port) as relay:
        relay.bytes_per_s = 15 * MB
        asked = ("pull", TAG, "--registry", relay.url, "--json")
        both = [_popen(server, tmp_path / "deploy", *asked) for _ in range(2)]
        said = [each.communicate(timeout=100) for each in both]

        assert [each.returncode for each in both] == [0, 0], said
        size = tiny_models[TAG].path.stat().st_size
        assert relay.sent_bytes < size + MB
    moved = sorted(json.loads(out)["fetched_bytes"] for out, _ in said)
    assert moved[0] == 0
    assert moved[1] == pytest.approx(size, abs=MB)


def test_an_interrupted_pull_says_what_is_kept_and_the_next_goes_on(
    server: RealServer, registry: Registry, tmp_path: Path, tiny_models: dict[str, TinyModel]
) -> None:
    with Relay(registry.port) as relay:
        relay.bytes_per_s = 12 * MB
        asked = ("pull", TAG, "--registry", relay.url, "--json")
        first = _popen(server, tmp_path / "deploy", *asked)
        relay.wait_for(12 * MB)
        os.kill(first.pid, signal.SIGINT)
        out, err = first.communicate(timeout=30)
        relay.bytes_per_s = None
        time.sleep(0.5)  # the server notes how far it got when it sees that nobody listens
        second = _popen(server, tmp_path / "deploy", *asked)
        said = second.communicate(timeout=60)

        assert (first.returncode, json.loads(out)["error"]["name"]) == (130, "Interrupted")
        assert "are kept" in err
        assert second.returncode == 0, said
        assert relay.sent_bytes < tiny_models[TAG].path.stat().st_size + 3 * MB


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a b",), "is not a model name"),
        (("hf:one",), "names no repository of the hub"),
        (("no.gguf",), "no.gguf: no such file"),
        (("no.tar",), "no.tar: no such file"),
        ((TAG, "--source", "bundle"), "the profile names no folder of bundles"),
        ((TAG, "--source", "mirror"), "needs its address"),
        ((TAG, "--limit-rate", "fast"), "fast"),
        ((TAG, "--connections", "0"), "connections = 0; at least 1"),
    ],
)
def test_what_cannot_be_meant_is_exit_2_before_anything_moves(
    run_deploy: RunDeploy, server: RealServer, arguments: tuple[str, ...], said: str
) -> None:
    found = run_deploy("pull", *arguments, env={"OLLAMA_HOST": server.url})
    assert found.returncode == 2, found.stderr
    assert said in found.stderr


def test_a_model_that_no_store_has_is_said_by_verify(
    run_deploy: RunDeploy, server: RealServer
) -> None:
    found = run_deploy("verify", "qwen3:8b", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 2
    assert "`deploy pull qwen3:8b` fetches it" in found.stderr
