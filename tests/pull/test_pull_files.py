"""`deploy pull` of what lies on a disk, and `deploy auto` from the second source of a profile."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDeploy
from tests.loop.answers import answer, chat
from tests.real import tiny
from tests.real.registry import Registry
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyCatalog, TinyModel

SMALL = "qwen3:0.6b"


def test_a_file_becomes_a_model_that_chats_and_is_not_sent_twice(
    run_deploy: RunDeploy, server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    env, path = {"OLLAMA_HOST": server.url}, tiny_models["deepseek-r1:1.5b"].path

    would = answer(run_deploy("pull", path, "--dry-run", "--json", env=env), "pull-forecast")
    first = answer(run_deploy("pull", path, "--json", env=env), "pull")
    again = answer(run_deploy("pull", path, "--json", env=env), "pull")

    [source] = would["sources"]
    assert source["intent"]["name"] == first["name"] == again["name"]
    assert (first["source"], first["address"]) == ("file", "this disk")
    assert first["fetched_bytes"] == path.stat().st_size
    assert again["fetched_bytes"] == 0
    assert chat(server, first["name"]) == first["name"]


def test_a_bundle_is_pulled_by_its_path_and_by_its_folder(
    run_deploy: RunDeploy,
    server: RealServer,
    tiny_models: dict[str, TinyModel],
    tmp_path: Path,
) -> None:
    env, folder = {"OLLAMA_HOST": server.url}, tmp_path / "bundles"
    folder.mkdir()
    tiny.create(server, tiny_models[SMALL])
    bundle = folder / "small.tar"
    made = run_deploy("bundle", "create", SMALL, "-o", bundle, env=env)
    assert made.returncode == 0, made.stderr
    profile = tmp_path / "own.toml"
    profile.write_text(f'sources = ["bundle"]\nbundles = {json.dumps(str(folder))}\n')

    for asked in ((bundle,), (SMALL, "--profile", profile)):
        server.client().delete(SMALL)
        would = answer(run_deploy("pull", *asked, "--dry-run", "--json", env=env), "pull-forecast")
        got = answer(run_deploy("pull", *asked, "--json", env=env), "pull")

        assert would["chosen"] == got["source"] == "bundle"
        assert got["name"] == SMALL
        size = tiny_models[SMALL].path.stat().st_size
        assert got["fetched_bytes"] == pytest.approx(size, abs=100_000)
        assert would["sources"][0]["intent"]["download_bytes"] == got["fetched_bytes"]


def test_the_loop_takes_the_second_source_where_the_first_is_away(
    run_deploy: RunDeploy,
    server: RealServer,
    registry: Registry,
    tiny_catalog: TinyCatalog,
    tmp_path: Path,
) -> None:
    profile = tmp_path / "two.toml"
    profile.write_text(
        f"catalog = {json.dumps(str(tiny_catalog.path))}\nmin_tps = 0\nvalidation_s = 2\n"
        f'sources = ["hf-gguf", "mirror"]\nregistry = "{registry.url}"\n'
        f'gguf_host = "127.0.0.1:{free_port()}"\n'
    )

    found = run_deploy(
        "auto", SMALL, "--profile", profile, "--json", env={"OLLAMA_HOST": server.url}, timeout=300
    )

    deployed = answer(found, "deployment")
    assert (deployed["tag"], deployed["source"]) == (SMALL, registry.url)
    assert f"trying {registry.url}" in found.stderr
