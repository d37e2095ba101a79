"""`plan --rehearse` and `auto --rehearse` on a real server, with shapes of a few megabytes."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.home import Home
from orchestrator.lock import only_one
from orchestrator.runtime import Binary
from tests.conftest import RunDeploy
from tests.loop import deployed
from tests.loop.answers import answer, chat
from tests.real import tiny
from tests.real.disk import small_disk
from tests.real.registry import Registry
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyCatalog, TinyModel
from tests.rehearse.conftest import left_of_rehearsals

pytestmark = pytest.mark.timeout(600)
_LARGEST = "deepseek-r1:7b"


def checks(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in document["verdict"]["checks"]}


def test_a_plan_is_rehearsed_measured_and_nothing_is_left(
    run_deploy: RunDeploy, server: RealServer, profile: Path, home: Home
) -> None:
    found = run_deploy(
        "plan", "--rehearse", "--profile", profile, "--json",
        env={"OLLAMA_HOST": server.url}, timeout=200,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    document = answer(found, "rehearsal")
    done = document["rehearsal"]
    assert document["plan"]["chosen"]["tag"] == done["tag"] == _LARGEST
    assert done["weights_bytes"]["planned"] == done["weights_bytes"]["written"]
    assert done["settings"] == {"num_ctx": 4096}
    assert abs(checks(done)["memory"]["error"]) < 0.10
    assert checks(done)["placement"]["measured"] == "cpu"
    assert done["measured"]["decode_tps"] > 0
    assert done["measured"]["prefill_tps"] > 0
    # Renamed into its place, not copied, and taken as it is by the server.
    assert "/api/blobs/sha256" not in server.log_text()
    assert left_of_rehearsals(server, home.data.parent) == []


def test_a_person_reads_promised_against_measured_with_signed_errors(
    run_deploy: RunDeploy, server: RealServer, profile: Path
) -> None:
    found = run_deploy(
        "plan", "qwen2.5:0.5b", "--rehearse", "--profile", profile,
        env={"OLLAMA_HOST": server.url}, timeout=200,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "chosen    qwen2.5:0.5b" in found.stdout
    assert "rehearsed qwen2.5:0.5b, as a stand-in" in found.stdout
    assert re.search(r"promised .* [MG]iB \([+-]", found.stdout.partition("rehearsed")[2])
    assert re.search(r"verdict   (passed|warned)", found.stdout)


def test_auto_rehearses_before_it_downloads_and_the_record_has_it(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    profile: Path,
    home: Home,
) -> None:
    arguments = ("auto", "qwen3:0.6b", "--rehearse", "--profile", profile)
    env = {"OLLAMA_HOST": server.url}
    found = run_deploy(*arguments, "--registry", registry.url, "--json", env=env, timeout=300)
    assert found.returncode == 0, found.stderr
    document = answer(found, "deployment")
    assert document["rehearsal"]["tag"] == document["tag"] == "qwen3:0.6b"
    assert document["rehearsal"]["verdict"]["outcome"] in ("passed", "warned")
    said = found.stderr
    assert said.index("rehearsing qwen3:0.6b") < said.index("pulling qwen3:0.6b")
    assert left_of_rehearsals(server, home.data.parent) == []
    assert answer(run_deploy("status", "--profile", profile, "--json", env=env), "status")
    # What serves is kept without another rehearsal.
    again = run_deploy(*arguments, "--registry", registry.url, env=env)
    assert again.returncode == 0, again.stderr
    assert "rehearsing" not in again.stderr


@pytest.fixture
def lies(tiny_catalog: TinyCatalog, tmp_path: Path) -> Path:
    """A catalogue that says of the largest model that it is five times as large as it is, and of
    the smallest that its attention is fused.
    """
    document = json.loads(json.dumps(tiny_catalog.document))
    for model in document["models"]:
        for variant in model["variants"]:
            if "7b" in variant["tags"]:
                variant["bytes"] *= 5
                variant["tensor_bytes"] *= 5
            if "0.5b" in variant["tags"]:
                model["architecture"]["fused_attention"] = True
    (tmp_path / "catalog.json").write_text(json.dumps(document))
    path = tmp_path / "lying.toml"
    path.write_text('catalog = "catalog.json"\nmin_tps = 0\nvalidation_s = 1\n')
    return path


def test_a_rehearsal_that_fails_its_memory_steps_down_without_a_download(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    lies: Path,
    home: Home,
) -> None:
    found = run_deploy(
        "auto", _LARGEST, "qwen3:0.6b", "--rehearse", "--profile", lies,
        "--registry", registry.url, "--json",
        env={"OLLAMA_HOST": server.url}, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    document = answer(found, "deployment")
    assert document["tag"] == document["rehearsal"]["tag"] == "qwen3:0.6b"
    [out] = [r for r in document["rejected"] if r["tag"] == _LARGEST]
    assert (out["reason"], out["learnt"]) == ("memory", True)
    assert out["detail"].startswith("rehearsed: memory: took")
    assert f"{_LARGEST} does not hold" in found.stderr
    assert f"pulling {_LARGEST}" not in found.stderr
    assert left_of_rehearsals(server, home.data.parent) == []


def test_nothing_that_holds_ends_with_7_and_no_download(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    lies: Path,
    home: Home,
) -> None:
    env = {"OLLAMA_HOST": server.url}
    found = run_deploy(
        "auto", _LARGEST, "--rehearse", "--profile", lies, "--registry", registry.url, "--json",
        env=env, timeout=200,
    )  # fmt: skip
    assert found.returncode == 7, found.stderr
    assert answer(found, "error")["error"]["name"] == "PromiseBroken"
    planned = run_deploy("plan", _LARGEST, "--rehearse", "--profile", lies, "--json", env=env)
    assert planned.returncode == 7, planned.stderr
    assert answer(planned, "rehearsal")["rehearsal"]["verdict"]["outcome"] == "failed"
    assert "hint: `deploy auto --rehearse`" in planned.stderr
    assert not server.client().list().models
    assert left_of_rehearsals(server, home.data.parent) == []


@pytest.mark.soak
def test_what_no_stand_in_can_be_written_of_is_deployed_without_one_with_a_warning(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, lies: Path
) -> None:
    env, tag = {"OLLAMA_HOST": server.url}, "qwen2.5:0.5b"
    asked = (tag, "--rehearse", "--profile", lies, "--json")
    planned = run_deploy("plan", *asked, env=env)
    assert planned.returncode == 2, planned.stderr
    assert "architecture qwen2 with fused attention" in planned.stderr
    found = run_deploy("auto", *asked, "--registry", registry.url, env=env, timeout=300)
    assert found.returncode == 0, found.stderr
    assert f"warning: {tag} is not rehearsed: no stand-in can be written" in found.stderr
    assert answer(found, "deployment")["rehearsal"] is None


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param(True, id="room-for-both", marks=pytest.mark.soak),
        pytest.param(False, id="room-for-one"),
    ],
)
def test_what_serves_is_in_memory_again_afterwards(
    run_deploy: RunDeploy,
    server: RealServer,
    tiny_models: dict[str, TinyModel],
    profile: Path,
    home: Home,
    beside: bool,
) -> None:
    if not beside:
        server.stop()
        server.settings["OLLAMA_MAX_LOADED_MODELS"] = "1"
        server.start()
    serves = deployed.deploy(server, home, tiny_models["qwen2.5:0.5b"])
    found = run_deploy(
        "plan", "qwen3:0.6b", "--rehearse", "--profile", profile,
        env={"OLLAMA_HOST": server.url}, timeout=200,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert ("no room beside" in found.stderr) is not beside
    assert deployed.in_memory(server) == {serves["digest"]}
    assert chat(server, "deploy-current") == "deploy-current"


def test_a_server_that_is_down_is_said_at_once(
    run_deploy: RunDeploy, profile: Path, home: Home
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    started = time.monotonic()
    found = run_deploy("plan", "--rehearse", "--profile", profile, env={"OLLAMA_HOST": nobody})
    assert found.returncode == 4, found.stderr
    assert "to rehearse on" in found.stderr
    assert "deploy runtime start" in found.stderr
    assert time.monotonic() - started < 10
    assert not (home.cache).exists()


def test_two_at_once_the_second_is_told_who_is_at_it(
    run_deploy: RunDeploy, server: RealServer, profile: Path, home: Home
) -> None:
    env = {"OLLAMA_HOST": server.url}
    with only_one(home, env, "plan --rehearse"):
        found = run_deploy("plan", "--rehearse", "--profile", profile, env=env)
    assert found.returncode == 75, found.stderr
    assert "`deploy plan --rehearse`" in found.stderr


def test_a_store_without_room_is_said_before_a_byte_is_written(
    run_deploy: RunDeploy,
    runtime_binary: Binary,
    tiny_models: dict[str, TinyModel],
    profile: Path,
    tmp_path: Path,
    home: Home,
) -> None:
    server = RealServer(runtime_binary.path, runtime_binary.library_path, tmp_path / "server")
    with small_disk(server.models, "250m"), server:
        # In the store already, so the plan asks for no room.
        tiny.create(server, tiny_models[_LARGEST])
        found = run_deploy(
            "plan", _LARGEST, "--rehearse", "--profile", profile, "--json",
            env={"OLLAMA_HOST": server.url},
        )  # fmt: skip
        assert found.returncode == 6, found.stderr
        said = answer(found, "error")["error"]
        assert said["name"] == "DiskFull"
        assert said["details"]["free_bytes"] < said["details"]["needed_bytes"]
        assert f"a stand-in of {_LARGEST}" in said["message"]
        assert left_of_rehearsals(server, home.data.parent) == []


@pytest.mark.parametrize(
    "more",
    [
        ("--compare", "/x.json"),
        ("--together",),
        ("--machine", "/x.json"),
        ("--server-version", "0.9.3"),
    ],
    ids=lambda more: more[0],
)
def test_only_this_machine_can_be_rehearsed_on(
    run_deploy: RunDeploy, more: tuple[str, ...]
) -> None:
    found = run_deploy("plan", "--rehearse", *more)
    assert found.returncode == 2, found.stderr
    assert "--rehearse" in found.stderr


def test_a_dry_run_does_not_rehearse(run_deploy: RunDeploy) -> None:
    found = run_deploy("auto", "--rehearse", "--dry-run")
    assert found.returncode == 2
    assert "deploy plan --rehearse" in found.stderr


def test_a_plan_that_is_not_rehearsed_loads_neither_numpy_nor_gguf() -> None:
    program = (
        "import sys; import orchestrator.cli.plan, orchestrator.cli.auto;"
        "print(sorted({'numpy', 'gguf'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert found.stdout.strip() == "[]"
