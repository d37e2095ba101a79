"""`deploy estimate` of models that are not the catalogue's, through the real command line."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.gguf.layout import laid_out
from orchestrator.schema import load
from tests.conftest import RunDeploy
from tests.real.hub import Fault, Hub
from tests.real.server import free_port
from tests.shapes import TINY
from tests.source.files import write_gguf, write_parts, write_repository


@pytest.fixture
def estimate(run_deploy: RunDeploy, hub: Hub, tmp_path: Path) -> Any:
    """Return `estimate(words...)` of a box without a server, whose hub is ours."""
    env = {
        "HF_ENDPOINT": hub.url,
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        "OLLAMA_MODELS": str(tmp_path / "store"),
    }

    def run(*words: str | Path, code: int = 0, **more: str) -> tuple[dict[str, Any], str]:
        done = run_deploy("estimate", *words, "--json", env=env | more)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        jsonschema.validate(document, load("error" if code else "estimate"))
        return document, done.stderr

    return run


def install(store: Path, name: str, blob: Path) -> None:
    """Lay a model into a store as a server does."""
    digest = "sha256:" + "a" * 64
    host, namespace, rest = name.split("/")
    place = store / "manifests" / host / namespace / Path(*rest.split(":"))
    place.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": 1}
    place.write_text(json.dumps({"schemaVersion": 2, "layers": [layer]}))
    (store / "blobs").mkdir()
    blob.rename(store / "blobs" / digest.replace(":", "-"))


def test_a_hub_s_safetensors_say_what_they_are_and_become(estimate: Any, hub: Hub) -> None:
    write_repository(hub.root / "Org" / "Tiny")
    found, told = estimate("hf:Org/Tiny", "--quantize", "q8_0")
    assert (found["model"], found["quantization"]) == ("hf:Org/Tiny", "Q8_0")
    assert found["memory"]["weights_bytes"] == laid_out(TINY, "Q8_0").total_bytes
    assert found["memory"]["basis"]["weights"] == "layout"
    origin = found["origin"]
    assert origin["kind"] == "hub"
    assert origin["import"] == {"class": "Qwen2ForCausalLM", "by": "0.9.3 and later"}
    assert "reading the header of hf:Org/Tiny" in told


def test_a_hub_s_gguf_may_be_estimated_at_another_quantization(estimate: Any, hub: Hub) -> None:
    write_gguf(hub.root / "o" / "r" / "m-Q4_K_M.gguf")
    found, _ = estimate("hf:o/r", "--quantize", "F16")
    assert found["quantization"] == "F16"
    assert found["origin"]["transferred_bytes"] > 0


def test_a_registry_s_model_is_read_where_its_name_says(
    estimate: Any, hub: Hub, tmp_path: Path
) -> None:
    hub.model("someone/own:7b", write_gguf(tmp_path / "a.gguf"))
    for name in (f"{hub.host}/someone/own:7b", f"{hub.url}/someone/own:7b"):
        found, _ = estimate(name)
        assert found["model"] == f"{hub.host}/someone/own:7b"
        assert found["origin"]["kind"] == "registry"


def test_a_model_of_the_store_needs_neither_server_nor_network(
    estimate: Any, tmp_path: Path
) -> None:
    name = "hf.co/org/own:latest"
    install(tmp_path / "store", name, write_gguf(tmp_path / "a.gguf"))
    found, told = estimate("hf.co/org/own", HTTPS_PROXY="http://127.0.0.1:9")
    assert (found["model"], found["origin"]["kind"]) == ("hf.co/org/own", "store")
    assert found["memory"]["basis"]["weights"] == "header"
    assert told == ""


def test_without_a_store_the_answer_of_the_catalogue_stands(estimate: Any) -> None:
    error = estimate("my-own-model:7b", code=2)[0]["error"]
    assert error["name"] == "UnknownModel"
    assert "name a .gguf file, hf:ORG/REPO, or HOST/NAMESPACE/NAME:TAG" in error["hint"]


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        pytest.param("hf:o/none", 5, "has no repository o/none", id="no-repository"),
        pytest.param("hf:o/../..", 2, "names no repository", id="no-name"),
        pytest.param("127.0.0.1:1/library/x:1b", 5, "cannot be reached", id="no-registry"),
        pytest.param("host/../x:1b", 2, "is not a model name", id="path"),
        pytest.param("ftp://host/library/x:1b", 2, "not the URL of a registry", id="scheme"),
    ],
)
def test_a_source_that_cannot_serve_is_one_clear_error(
    estimate: Any, name: str, code: int, says: str
) -> None:
    assert says in estimate(name, code=code)[0]["error"]["message"]


def test_a_token_is_never_shown(estimate: Any, hub: Hub) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    hub.faults.append(Fault("/resolve/", status=403))
    document, told = estimate("hf:o/r", "-v", code=5, HF_TOKEN="hf_secretsecret")
    assert "secret" not in f"{document}{told}"
    assert hub.asked[-1].authorization == "Bearer hf_secretsecret"


def test_a_hub_is_reached_through_the_proxy_of_the_environment(estimate: Any, hub: Hub) -> None:
    write_gguf(hub.root / "o" / "r" / "m.gguf")
    found, _ = estimate("hf:o/r", HF_ENDPOINT="http://hub.example", HTTP_PROXY=hub.url)
    assert found["origin"]["where"].startswith("http://hub.example/o/r@")
    assert {asked.host for asked in hub.asked} == {"hub.example"}


def test_offline_is_respected(estimate: Any, hub: Hub) -> None:
    error = estimate("hf:o/r", code=5, HF_HUB_OFFLINE="1")[0]["error"]
    assert "HF_HUB_OFFLINE is set" in error["message"]
    assert hub.asked == []


def test_people_read_where_it_comes_from_and_what_to_know(
    run_deploy: RunDeploy, tmp_path: Path
) -> None:
    path = write_parts(tmp_path, "b", 2)[1]
    done = run_deploy("estimate", path)
    assert f"origin    {path}" in done.stdout
    assert "note      the model lies in 2 files" in done.stdout
