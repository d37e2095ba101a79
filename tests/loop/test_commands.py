"""The commands around the loop, on a real server: one JSON document each, valid by its schema."""

import json
from pathlib import Path

import pytest

from orchestrator.schema import names
from tests.conftest import RunDeploy
from tests.loop.answers import answer
from tests.real import tiny
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyModel

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def stocked(server: RealServer, tiny_models: dict[str, TinyModel]) -> RealServer:
    """A server that has one tiny model, deployed by nobody."""
    tiny.create(server, tiny_models["qwen3:0.6b"])
    return server


def test_bench_measures_any_model_of_the_server_and_history_lists_it(
    run_deploy: RunDeploy, stocked: RealServer
) -> None:
    env = {"OLLAMA_HOST": stocked.url}
    found = run_deploy("bench", "qwen3:0.6b", "--quick", "--json", env=env, timeout=500)
    assert found.returncode in (0, 9), found.stderr
    bench = answer(found, "bench")
    assert (found.returncode == 9) is (bench["comparison"]["outcome"] == "inconclusive")
    assert bench["prompt"]["exact"] is True
    assert bench["metrics"]["decode_tps"]["n"] >= 3
    assert all(s["prompt_tokens"] == bench["prompt"]["tokens"] for s in bench["samples"])
    assert bench["memory"]["resident_how"] == "VmHWM of the runner"
    history = answer(run_deploy("history", "--json", env=env), "history")
    assert history["bench_runs"][0]["deployment"] is None
    assert history["bench_runs"][0]["samples"] == bench["samples"]
    text = run_deploy("history", env=env).stdout
    assert "tokens/s" in text


def test_bench_of_a_model_that_the_server_lacks_says_how_to_get_it(
    run_deploy: RunDeploy, server: RealServer
) -> None:
    found = run_deploy("bench", "deepseek-r1:7b", env={"OLLAMA_HOST": server.url})
    assert found.returncode == 2
    assert f"error: the server at {server.url} does not have deepseek-r1:7b" in found.stderr
    assert "hint: get it with `deploy auto deepseek-r1:7b`" in found.stderr


@pytest.mark.parametrize("command", [("bench", "qwen3:0.6b"), ("runtime", "start")])
def test_no_server_is_exit_4_with_the_next_command(
    run_deploy: RunDeploy, command: tuple[str, ...]
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    found = run_deploy(*command, "--json", env={"OLLAMA_HOST": nobody, "PATH": "/nowhere"})
    assert found.returncode == 4
    error = answer(found, "error")["error"]
    assert error["code"] == 4
    assert "deploy runtime" in error["hint"]


def test_status_and_env_without_a_deployment(run_deploy: RunDeploy, server: RealServer) -> None:
    env = {"OLLAMA_HOST": server.url}
    status = answer(run_deploy("status", "--json", env=env), "status")
    assert status["deployment"] is None
    assert status["serving"] is False
    missing = run_deploy("env", env=env)
    assert missing.returncode == 2
    assert "hint: deploy one with `deploy auto`" in missing.stderr


def test_status_of_a_server_that_is_gone_says_so(run_deploy: RunDeploy) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    found = run_deploy("status", "--json", env={"OLLAMA_HOST": nobody})
    status = answer(found, "status")
    assert status["server"] == {"host": nobody, "answering": False, "version": None}


def test_probe_describes_this_box_and_the_plan_reads_it_back(
    run_deploy: RunDeploy, stocked: RealServer, tmp_path: Path
) -> None:
    env = {"OLLAMA_HOST": stocked.url}
    found = run_deploy("probe", "--json", env=env)
    machine = answer(found, "machine")
    assert machine["server"]["version"] == "0.9.3"
    assert machine["server"]["runtime"] == "embedded"
    assert machine["server"]["settings"]["num_parallel"] == 1
    assert machine["disk"]["model_store"] == str(stocked.models)
    path = tmp_path / "box.json"
    path.write_text(found.stdout)
    here = answer(run_deploy("plan", "--json", env=env), "plan")
    there = answer(run_deploy("plan", "--machine", path, "--json"), "plan")
    assert here["machine"] == there["machine"]
    assert here["chosen"]["tag"] == there["chosen"]["tag"]
    assert "memory " in run_deploy("probe", env=env).stdout


def test_probe_invents_no_server(run_deploy: RunDeploy) -> None:
    env = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}"}
    server = answer(run_deploy("probe", "--json", env=env), "machine")["server"]
    assert (server["version"], server["runtime"], server["pid"]) == (None, None, None)
    assert "server    none answers at" in run_deploy("probe", env=env).stdout


def test_catalog_lists_and_shows(run_deploy: RunDeploy) -> None:
    listed = answer(run_deploy("catalog", "--json"), "catalog")["models"]
    assert {m["family"] for m in listed} >= {"deepseek-r1", "qwen3", "qwen2.5"}
    one = answer(run_deploy("catalog", "deepseek-r1:7b", "--json"), "catalog")["models"]
    assert one[0]["file_bytes"] == 4_683_073_184
    assert one[0]["kv_cache_bytes_per_token"] == 57_344
    assert "4683073184 bytes" in run_deploy("catalog", "deepseek-r1:7b").stdout


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("r1:16b", "16B is DeepSeek-V2-Lite / Coder-V2-Lite"),
        ("qwen2.5:1.8b", "1.8B is Qwen1.5"),
        ("deepseek-r1:7bb", "deepseek-r1:7b"),
    ],
)
@pytest.mark.parametrize("command", ["catalog", "estimate", "plan", "auto"])
def test_an_unknown_tag_is_answered_with_the_fact_and_real_names(
    run_deploy: RunDeploy, command: str, name: str, fact: str
) -> None:
    found = run_deploy(command, name, "--json")
    assert found.returncode == 2
    error = answer(found, "error")["error"]
    assert error["name"] == "UnknownModel"
    assert fact in error["message"] + error["hint"]
    assert error["details"]["nearest"]


def test_every_schema_is_printed(run_deploy: RunDeploy) -> None:
    for name in names():
        assert json.loads(run_deploy("schema", name).stdout)["$id"] == name


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("plan", "--nonsense"),
        ("plan", "--max-memory", "much"),
        ("plan", "--context", "0"),
        ("plan", "--profile", "nobody"),
        ("plan", "--machine", "/nowhere.json"),
        ("auto", "--registry", "ftp://x"),
        ("history", "--limit", "0"),
        ("schema", "nobody"),
        ("estimate",),
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_exit_2_in_two_lines(
    run_deploy: RunDeploy, arguments: tuple[str, ...]
) -> None:
    found = run_deploy(*arguments)
    assert found.returncode == 2
    assert found.stdout == ""
    lines = found.stderr.strip().splitlines()
    assert lines[-2].startswith("error: ")
    assert lines[-1].startswith("hint: ")
    assert "Traceback" not in found.stderr


def test_events_are_json_lines_on_stderr(run_deploy: RunDeploy) -> None:
    found = run_deploy("plan", "--log-format", "json", "--json")
    events = [json.loads(line) for line in found.stderr.splitlines() if line.startswith("{")]
    assert {"probe.begin", "probe.done"} <= {e["event"] for e in events}
    json.loads(found.stdout)
