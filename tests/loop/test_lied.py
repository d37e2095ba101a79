"""Files that are not what they claim to be: damaged in the store or on the way, mislabelled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from tests.conftest import RunDeploy
from tests.loop.answers import answer, chat
from tests.real import tiny
from tests.real.registry import Registry
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyCatalog, TinyModel

pytestmark = pytest.mark.timeout(600)
Catalog = Callable[[Callable[[dict[str, Any]], None]], Path]


@pytest.fixture
def profile_with(tiny_catalog: TinyCatalog, tmp_path: Path) -> Catalog:
    """A profile whose catalogue was changed by a function of the whole document."""

    def made(change: Callable[[dict[str, Any]], None]) -> Path:
        document = json.loads(json.dumps(tiny_catalog.document))
        change(document)
        (tmp_path / "catalog.json").write_text(json.dumps(document))
        path = tmp_path / "tiny.toml"
        path.write_text('catalog = "catalog.json"\nmin_tps = 0\nvalidation_s = 2\n')
        return path

    return made


@pytest.fixture
def profile(profile_with: Catalog) -> Path:
    return profile_with(lambda _: None)


def flip(path: Path) -> None:
    """Change one byte in the middle, as a bad disk does."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))


def blob_of(folder: Path, model: TinyModel) -> Path:
    return folder / "blobs" / model.digest.replace(":", "-")


def test_a_blob_that_is_damaged_in_the_store_is_fetched_again(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    profile: Path,
    tiny_models: dict[str, TinyModel],
) -> None:
    model = tiny_models["qwen3:0.6b"]
    tiny.create(server, model)
    flip(blob_of(server.models, model))
    found = run_deploy(
        "auto", model.tag, "--profile", profile, "--registry", registry.url, "--json",
        env={"OLLAMA_HOST": server.url}, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert f"qwen3:0.6b is damaged in the store: {model.digest}" in found.stderr
    deployed = answer(found, "deployment")
    assert deployed["blob"] == model.digest
    assert blob_of(server.models, model).read_bytes() == model.path.read_bytes()


def test_a_damaged_blob_that_no_source_replaces_stays_where_it_serves(
    run_deploy: RunDeploy,
    server: RealServer,
    profile: Path,
    tiny_models: dict[str, TinyModel],
) -> None:
    model = tiny_models["qwen3:0.6b"]
    tiny.create(server, model)
    flip(blob_of(server.models, model))
    nobody = f"http://127.0.0.1:{free_port()}"
    found = run_deploy(
        "auto", model.tag, "--profile", profile, "--registry", nobody,
        env={"OLLAMA_HOST": server.url},
    )  # fmt: skip
    assert found.returncode == 5, found.stderr
    assert blob_of(server.models, model).exists()
    assert {p.name for p in server.models.glob("deploy*")} == {"deploy.lock"}


def test_what_verify_finds_auto_repairs(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    profile: Path,
    tiny_models: dict[str, TinyModel],
) -> None:
    model, env = tiny_models["qwen2.5:0.5b"], {"OLLAMA_HOST": server.url}
    arguments = ("auto", model.tag, "--profile", profile, "--registry", registry.url)
    assert run_deploy(*arguments, env=env, timeout=300).returncode == 0
    flip(blob_of(server.models, model))
    verified = run_deploy("verify", "--profile", profile, "--json", env=env)
    assert verified.returncode == 7, verified.stderr
    assert json.loads(verified.stdout)["damaged"] == [model.digest]
    repaired = run_deploy(*arguments, env=env, timeout=300)
    assert repaired.returncode == 0, repaired.stderr
    assert blob_of(server.models, model).read_bytes() == model.path.read_bytes()
    assert run_deploy("verify", "--profile", profile, env=env).returncode == 0
    again = run_deploy(*arguments, "--json", env=env)
    assert answer(again, "deployment")["changed"] is False


def test_a_registry_that_delivers_damaged_bytes_is_passed_over_for_the_next_candidate(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    profile: Path,
    tiny_models: dict[str, TinyModel],
    tmp_path: Path,
) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(registry.storage, storage)
    kind, digest = tiny_models["qwen3:0.6b"].digest.split(":")
    flip(storage / "docker/registry/v2/blobs" / kind / digest[:2] / digest / "data")
    profile.write_text(profile.read_text() + 'families = [["qwen3"], ["qwen2.5"]]\n')
    with Registry(tmp_path, storage) as damaged:
        found = run_deploy(
            "auto", "--profile", profile, "--registry", damaged.url, "--json",
            env={"OLLAMA_HOST": server.url}, timeout=300,
        )  # fmt: skip
    assert found.returncode == 0, found.stderr
    deployed = answer(found, "deployment")
    assert deployed["tag"] == "qwen2.5:0.5b"
    [rejection] = [r for r in deployed["rejected"] if r["tag"] == "qwen3:0.6b"]
    assert rejection["reason"] == "unavailable"
    assert "damaged" in rejection["detail"]


def _one_layer_less(document: dict[str, Any]) -> None:
    [entry] = [m for m in document["models"] if m["name"] == "qwen3:0.6b"]
    entry["architecture"]["block_count"] -= 1
    entry["kv_bytes_per_token"] = entry["kv_bytes_per_token"] * 7 // 8


def test_a_header_that_differs_from_the_catalogue_is_planned_anew_and_recorded(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    profile_with: Catalog,
    home: Home,
) -> None:
    found = run_deploy(
        "auto", "qwen3:0.6b", "--profile", profile_with(_one_layer_less),
        "--registry", registry.url, "--json",
        env={"OLLAMA_HOST": server.url}, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    deployed = answer(found, "deployment")
    assert deployed["differences"] == ["block_count 7 in the catalogue, 8 in the file"]
    assert "planning again by the file's header" in found.stderr
    assert deployed["verdict"]["outcome"] in ("passed", "warned")
    recorded = Ledger(home.ledger).current(server.url, "deploy-current:latest")
    assert recorded
    assert recorded["differences"] == deployed["differences"]


def test_a_header_that_does_not_fit_gives_way_to_the_next_candidate(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, profile_with: Catalog
) -> None:
    """The cap lies between what the catalogue promises and what the file needs."""
    profile = profile_with(_one_layer_less)
    profile.write_text(profile.read_text() + 'families = [["qwen3"], ["qwen2.5"]]\n')
    env = {"OLLAMA_HOST": server.url}
    promised = answer(
        run_deploy("plan", "qwen3:0.6b", "--profile", profile, "--json", env=env), "plan"
    )["chosen"]["estimate"]["memory"]["total_bytes"]
    found = run_deploy(
        "auto", "--profile", profile, "--registry", registry.url, "--json",
        "--max-memory", f"{promised + 4096}B",
        env=env, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    deployed = answer(found, "deployment")
    assert deployed["tag"] == "qwen2.5:0.5b"
    [rejection] = [r for r in deployed["rejected"] if r["tag"] == "qwen3:0.6b"]
    assert rejection["reason"] == "memory"
    assert rejection["short_by_bytes"] > 0
    assert chat(server, "deploy-current") == "deploy-current"
