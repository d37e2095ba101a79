"""From a repository of the hub to a model that answers: true client, own downloads, real Ollama."""

import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import (
    DeployError,
    DiskFull,
    InvalidInput,
    ModelUnavailable,
    SourceBusy,
    SourceCorrupt,
    SourceUnreachable,
)
from orchestrator.home import Home
from orchestrator.runtime.binary import Binary
from orchestrator.store import Store
from tests.pull.hubs import Silent, asked, pulling, source, unnamed
from tests.real.disk import fill, small_disk
from tests.real.hub import COMMIT, Fault, Hub
from tests.real.safetensors import write_repository
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

TAG, NAME = "hf:Org/Tiny-Instruct", "tiny-instruct:q8_0"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with asked(tmp_path, monkeypatch) as hub:
        folder = write_repository(hub.root / "Org" / "Tiny-Instruct", shards=3)
        (folder / "LICENSE").write_text("Apache License, Version 2.0")
        yield hub


def left(server: RealServer, home: Home) -> set[str]:
    """Return what is left over beside models: of downloads here, of imports on the server."""
    return unnamed(server.models) | {str(path) for path in (home.cache / "hub").rglob("*")}


def answers(server: RealServer, name: str) -> bool:
    said = server.client().generate(name, "one two", options={"num_predict": 2, "num_ctx": 256})
    return bool(said.response)


def names(server: RealServer) -> set[str]:
    return {each.model or "" for each in server.client().list().models}


def test_a_sharded_repository_becomes_a_model_that_answers_and_nothing_else_is_left(
    hub: Hub, server: RealServer, home: Home
) -> None:
    found, progress = source(server.url, server.models, home), Silent()
    intent = found.intent(TAG)
    assert (intent.source, intent.host, intent.name) == ("hub", hub.host, NAME)
    assert (intent.files, intent.present_bytes) == (9, 0)
    folder = home.cache / "hub" / "Org--Tiny-Instruct" / COMMIT
    assert set(intent.needed_bytes) == {str(folder), str(server.models)}
    assert not home.cache.exists()
    pulled = found.pull(TAG, progress)
    assert pulled.fetched_bytes == intent.download_bytes == intent.total_bytes
    listings = [each.path for each in hub.asked if each.path.startswith("/api/")]
    assert listings == ["/api/models/Org/Tiny-Instruct"]
    assert names(server) == {NAME}
    shown = server.client().show(NAME)
    assert shown.license == "Apache License, Version 2.0"
    assert shown.details is not None
    assert shown.details.quantization_level == "Q8_0"
    assert answers(server, NAME)
    assert left(server, home) == set()


def test_a_tag_of_the_catalogue_is_imported_at_its_own_quantization_under_its_own_name(
    hub: Hub, server: RealServer, home: Home
) -> None:
    write_repository(hub.root / "Qwen" / "Qwen2.5-0.5B-Instruct", shards=1)
    found = source(server.url, server.models, home, quantization="Q8_0")
    assert found.final("qwen2.5:0.5b") == "qwen2.5:0.5b"
    found.pull("qwen2.5:0.5b", Silent())
    shown = server.client().show("qwen2.5:0.5b")
    assert shown.details is not None
    assert shown.details.quantization_level == "Q4_K_M"
    folder = write_repository(hub.root / "Qwen" / "Qwen3-1.7B", shards=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"architectures": ["Qwen3ForCausalLM"]})
    )
    for tag, says in [
        ("qwen3:1.7b", "does not import Qwen3ForCausalLM"),
        ("qwen3:8b", "no repository Qwen/Qwen3-8B"),
        ("qwen:0.5b", "is Q4_0, which no import"),
        ("qwen2.5:0.5b-base", "names no repository"),
    ]:
        with pytest.raises(ModelUnavailable, match=says):
            found.intent(tag)


def test_a_gguf_of_the_hub_becomes_a_model(
    hub: Hub, server: RealServer, home: Home, tiny_models: dict[str, TinyModel]
) -> None:
    model = tiny_models["qwen2.5:0.5b"]
    folder = hub.root / "Org" / "Tiny-GGUF"
    folder.mkdir()
    (folder / "tiny-Q4_K_M.gguf").write_bytes(model.path.read_bytes())
    with pytest.raises(ModelUnavailable, match="has nothing at Q8_0"):
        source(server.url, server.models, home).pull("hf:Org/Tiny-GGUF", Silent())
    source(server.url, server.models, home, quantization=None).pull("hf:Org/Tiny-GGUF", Silent())
    assert names(server) == {"tiny:q4_K_M"}
    assert left(server, home) == set()


def test_what_comes_corrupted_never_reaches_the_server(
    hub: Hub, server: RealServer, home: Home
) -> None:
    hub.faults = [Fault("model-00002-of-00003", corrupt_at=400_000)]
    with pytest.raises(SourceCorrupt, match="model-00002"):
        source(server.url, server.models, home).pull(TAG, Silent())
    said = server.log.read_text()
    assert '"/api/version' in said
    assert '"/api/blobs' not in said
    assert '"/api/create' not in said
    assert not unnamed(server.models)
    hub.faults = []
    again = source(server.url, server.models, home)
    missing = again.intent(TAG).download_bytes
    assert missing is not None
    assert again.pull(TAG, Silent()).fetched_bytes <= missing + 4096
    assert left(server, home) == set()


def test_a_repository_that_is_damaged_itself_is_refused_and_not_kept(
    hub: Hub, server: RealServer, home: Home
) -> None:
    folder = hub.root / "Org" / "Tiny-Instruct"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    first = min(index["weight_map"])
    index["weight_map"][f"{first}.other"] = index["weight_map"].pop(first)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises((SourceCorrupt, InvalidInput)):
        source(server.url, server.models, home).pull(TAG, Silent())
    assert '"/api/blobs' not in server.log.read_text()
    assert left(server, home) == set()


def test_each_refusal_is_an_error_of_its_own_and_nothing_is_fetched(
    hub: Hub, server: RealServer, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    (hub.root / "Org" / "Weights").mkdir()
    (hub.root / "Org" / "Weights" / "pytorch_model.bin").write_bytes(b"x")
    tried: list[tuple[str, list[Fault], type[DeployError], str]] = [
        ("hf:Org/None", [], ModelUnavailable, "no repository Org/None that we may see"),
        (f"{TAG}@v9", [], ModelUnavailable, "no revision v9"),
        (TAG, [Fault("/api/", html=True)], SourceUnreachable, "page of a portal"),
        (TAG, [Fault("/api/", status=429)], SourceBusy, "come back later"),
        ("hf:Org/Weights", [], InvalidInput, "neither a GGUF nor a config.json"),
        ("hf:Org/Gated", [], ModelUnavailable, "Org/Gated is gated"),
    ]
    write_repository(hub.root / "Org" / "Gated", shards=1)
    hub.gated = {"Org/Gated"}
    for tag, faults, kind, says in tried:
        hub.faults = faults
        with pytest.raises(kind, match=says) as caught:
            source(server.url, server.models, home).pull(tag, Silent())
        assert "secret" not in f"{caught.value.to_json()}{caught.value.__cause__}"
    assert not (home.cache / "hub").exists()
    assert '"/api/blobs' not in server.log.read_text()


def test_a_disk_too_small_is_told_with_both_numbers_before_the_download(
    hub: Hub, server: RealServer, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small", "34M") as disk:
        home = Home.of({"DEPLOY_HOME": str(disk)})
        with pytest.raises(DiskFull, match=r"needs .* at .* \(.* to download\); .* is free"):
            source(server.url, server.models, home).pull(TAG, Silent())
    fetched = sum(a.sent_bytes for a in hub.asked if a.path.endswith(".safetensors"))
    assert fetched < 256 * 1024


def test_a_store_that_becomes_full_keeps_the_download_which_is_not_fetched_again(
    hub: Hub, runtime_binary: Binary, home: Home, tmp_path: Path
) -> None:
    server = RealServer(runtime_binary.path, runtime_binary.library_path, tmp_path / "server")
    with small_disk(server.models, "80M") as disk:
        server.start()
        try:
            fill(disk)
            with pytest.raises(DiskFull):  # its store is not ours to see: it says so itself
                source(server.url, None, home).pull(TAG, Silent())
            assert names(server) == set()
            (disk / "ballast").unlink()
            before = hub.sent_bytes
            assert source(server.url, server.models, home).pull(TAG, Silent()).fetched_bytes == 0
            assert hub.sent_bytes - before < 256 * 1024
            assert names(server) == {NAME}
            assert left(server, home) == set()
        finally:
            server.stop()


def test_two_pulls_of_one_model_share_one_download(
    hub: Hub, server: RealServer, tmp_path: Path
) -> None:
    pulls = [pulling(hub, server, tmp_path, TAG) for _ in range(2)]
    for each in pulls:
        said, _ = each.communicate(timeout=90)
        assert each.returncode == 0, said
    total = sum(p.stat().st_size for p in (hub.root / "Org" / "Tiny-Instruct").iterdir())
    assert hub.sent_bytes < total + 2 * 256 * 1024
    assert left(server, Home.of({"DEPLOY_HOME": str(tmp_path / "deploy")})) == set()


@pytest.mark.parametrize(
    "times", [3, pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]
)
def test_killed_at_any_moment_it_is_finished_by_the_next_run(
    hub: Hub, server: RealServer, tmp_path: Path, times: int
) -> None:
    home = Home.of({"DEPLOY_HOME": str(tmp_path / "deploy")})
    began = time.monotonic()
    first = pulling(hub, server, tmp_path, TAG)
    said, _ = first.communicate(timeout=90)
    assert first.returncode == 0, said
    whole_s = time.monotonic() - began
    moments = random.Random(7)
    for _ in range(times):
        server.client().delete(NAME)
        killed = pulling(hub, server, tmp_path, TAG)
        time.sleep(moments.uniform(0.3, 0.95) * whole_s)
        killed.kill()
        killed.communicate()
        last = pulling(hub, server, tmp_path, TAG)
        said, _ = last.communicate(timeout=90)
        assert last.returncode == 0, said
        assert names(server) == {NAME}
        assert answers(server, NAME)
        # Of a client that is gone the server keeps open what it was quantizing into, until it ends.
        assert all(re.fullmatch(r"Q8_0\d+", name) for name in left(server, home))
    server.stop()
    Store(server.models).sweep(now_s=time.time() + 3700, server_pid=None)
    assert left(server, home) == set()
