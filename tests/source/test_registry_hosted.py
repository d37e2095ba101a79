"""GGUF repositories under a hub's host name: what they are called in the end, and how they chat."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidInput, ModelUnavailable
from orchestrator.home import Home
from orchestrator.pull.claim import claimed, fetched
from orchestrator.pull.registered import Registered
from orchestrator.server import Server
from orchestrator.source.hosted import Hosted
from orchestrator.source.named import Kind, through_ollama
from orchestrator.source.registry import Registry as Source
from tests.loop.heard import Heard
from tests.real.hub import Fault, Hub
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

TAG = "deepseek-r1:1.5b"
SECOND = "bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF"  # the catalogue names another before it
_MODEL = "application/vnd.ollama.image.model"
_CONFIG = "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True, slots=True)
class Published:
    """A hub that has the second repository alone, and a server that knows none of it."""

    registry: Hub
    server: RealServer

    @property
    def full(self) -> str:
        """The name in full, as a person gives it."""
        return f"{self.registry.host}/{SECOND}:Q4_K_M"

    def names(self) -> set[str]:
        """Return what the server lists."""
        return {each.name for each in Server(self.server.url).installed()}


@pytest.fixture
def published(
    server: RealServer, tiny_models: dict[str, TinyModel], tmp_path: Path
) -> Iterator[Published]:
    """A GGUF that comes with no template, as a hub's registry has it of which it knows nothing."""
    config = tmp_path / "config.json"
    config.write_text('{"model_format": "gguf", "model_family": "qwen2"}')
    (tmp_path / "repositories").mkdir()
    with Hub(tmp_path / "repositories") as hub:
        model, own = _layer(tiny_models[TAG].path, _MODEL), _layer(config, _CONFIG)
        hub.blobs |= {model["digest"]: tiny_models[TAG].path, own["digest"]: config}
        document = {"schemaVersion": 2, "config": own, "layers": [model]}
        hub.manifests[f"/v2/{SECOND}/manifests/Q4_K_M"] = json.dumps(document).encode()
        hub.faults.append(Fault("/blobs/", headers={"Location": "#"}))  # the server wants one
        yield Published(hub, server)


def _layer(path: Path, kind: str) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return {"mediaType": kind, "digest": digest, "size": path.stat().st_size}


def _thinks(server: RealServer, name: str) -> bool:
    shown = Server(server.url).show(name)
    return bool(shown and shown.capabilities and "thinking" in shown.capabilities)


@pytest.mark.parametrize("kind", ["hf-gguf", pytest.param("modelscope", marks=pytest.mark.soak)])
def test_a_tag_of_the_catalogue_becomes_a_model_that_chats_as_its_family_does(
    published: Published, kind: Kind
) -> None:
    heard = Heard()
    source = through_ollama(kind, Server(published.server.url), url=published.registry.url)

    source.pull(TAG, heard)

    assert (source.name, source.address) == (kind, published.registry.host)
    assert published.names() == {TAG}
    assert _thinks(published.server, TAG)
    assert sum("trying the next repository" in line for line in heard.lines) == 1
    pieces = list(
        Server(published.server.url).chat(
            TAG, "hello", think=True, options={"num_ctx": 512, "num_predict": 40}
        )
    )
    assert "".join(piece.thinking for piece in pieces)
    assert "<think>" not in "".join(piece.text for piece in pieces)


def test_a_name_in_full_is_kept_beside_a_plain_one_and_chats_as_its_family_does(
    published: Published,
) -> None:
    source = through_ollama("hf-gguf", Server(published.server.url), url=published.registry.url)

    source.pull(published.full, Heard())

    assert published.names() == {published.full}
    assert _thinks(published.server, published.full)
    assert source.pull(TAG, Heard()).fetched_bytes == 0
    assert published.names() == {published.full, TAG}


def test_a_repository_of_the_hub_is_fetched_from_its_mirror_and_keeps_its_name(
    published: Published,
) -> None:
    source = through_ollama("hf-gguf", Server(published.server.url), url=published.registry.url)

    source.pull(f"hf.co/{SECOND}:Q4_K_M", Heard())

    assert published.names() == {f"hf.co/{SECOND}:Q4_K_M"}


def test_a_second_pull_moves_nothing_and_changes_nothing(published: Published) -> None:
    source = through_ollama("hf-gguf", Server(published.server.url), url=published.registry.url)
    source.pull(TAG, Heard())

    again = source.pull(TAG, Heard())

    assert again.fetched_bytes < 1000  # the config: that of the model here is another
    assert published.names() == {TAG}
    assert _thinks(published.server, TAG)


def test_what_none_of_the_repositories_has_is_said_of_each(published: Published) -> None:
    source = through_ollama("hf-gguf", Server(published.server.url), url=published.registry.url)
    tag = "deepseek-r1:1.5b-qwen-distill-q8_0"

    with pytest.raises(ModelUnavailable) as e:
        source.pull(tag, Heard())

    assert e.value.what.startswith(
        f"no GGUF repository at {published.registry.host} delivers {tag}"
    )
    assert "unsloth/DeepSeek-R1-Distill-Qwen-1.5B-GGUF:Q8_0" in e.value.what
    assert f"{SECOND}:Q8_0" in e.value.what
    assert published.names() == set()


def test_the_files_of_a_tag_are_those_of_the_repository_that_has_it(
    published: Published, tiny_models: dict[str, TinyModel]
) -> None:
    source = through_ollama("hf-gguf", Server(published.server.url), url=published.registry.url)

    files = source.registered(TAG)

    assert [each.digest for each in files.model] == [tiny_models[TAG].digest]
    assert 0 < files.total_bytes - files.model[0].size_bytes < 100  # the config


def test_a_pull_from_the_second_repository_that_is_killed_leaves_no_long_name_in_the_end(
    published: Published, home: Home
) -> None:
    api = Server(published.server.url)
    hosted = through_ollama("hf-gguf", api, url=published.registry.url)
    source = Registered(source=hosted, store_path=None, catalog=Catalog.bundled())

    def killed() -> None:  # before the model has its plain name
        with claimed(home, api, source, TAG):
            list(api.pull(published.full, insecure=True))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert published.names() == {published.full}

    fetched(home, api, source, TAG, Heard())

    assert published.names() == {TAG}
    assert list((home.state / "pulls").glob("*.ours")) == []


NOBODY = Server("http://127.0.0.1:9")


@pytest.mark.parametrize(("kind", "host"), [("hf-gguf", "hf.co"), ("modelscope", "modelscope.cn")])
def test_the_quantization_of_a_tag_is_the_tag_of_a_repository(kind: Kind, host: str) -> None:
    source = through_ollama(kind, NOBODY)

    assert isinstance(source, Hosted)
    assert not source.insecure
    assert source.name_of("qwen3:0.6b") == f"{host}/Qwen/Qwen3-0.6B-GGUF:Q4_K_M"


def test_the_mirror_of_a_hub_is_reached_by_https_and_for_names_of_the_hub_too() -> None:
    source = through_ollama("hf-gguf", NOBODY, url="hf-mirror.com")

    assert not source.insecure
    for host in ("hf.co", "HF.co"):  # as a person spells it
        assert source.name_of(f"{host}/o/r-GGUF:Q8_0") == "hf-mirror.com/o/r-GGUF:Q8_0"


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        pytest.param("nobody:1b", "does not say in which repository of hf.co nobody:1b", id="tag"),
        pytest.param("modelscope.cn/o/r:Q8_0", "does not say in which", id="another-hub"),
    ],
)
def test_what_the_catalogue_does_not_place_is_unavailable_here(tag: str, said: str) -> None:
    source = through_ollama("hf-gguf", NOBODY)

    with pytest.raises(ModelUnavailable, match=said) as e:
        source.pull(tag, Heard())

    assert "hf.co/ORG/REPO:QUANT" in e.value.hint
    assert source.name_of(tag) == tag


def test_a_file_that_is_no_gguf_is_not_asked_for_among_gguf_files() -> None:
    mlx = next(c for c in Catalog.bundled().candidates if c.format != "gguf")

    with pytest.raises(ModelUnavailable, match="no GGUF repository of"):
        through_ollama("hf-gguf", NOBODY).pull(mlx.tag, Heard())


def test_a_mirror_speaks_plain_http_only_where_its_url_says_so() -> None:
    made = [through_ollama("mirror", NOBODY, url=u) for u in ("http://m:5000", "https://m", "m")]

    assert [m.insecure for m in made] == [True, False, False]
    assert [m.name for m in made] == ["mirror"] * 3
    assert made[0].address == "http://m:5000"
    assert made[1].name_of("qwen3:8b") == "m/library/qwen3:8b"


@pytest.mark.parametrize("url", [None, "ftp://m", "https://m/path"])
def test_a_mirror_without_an_address_is_no_source(url: str | None) -> None:
    with pytest.raises(InvalidInput):
        through_ollama("mirror", NOBODY, url=url)


def test_ollamas_own_registry_needs_no_address() -> None:
    source = through_ollama("ollama", NOBODY)

    assert isinstance(source, Source)
    assert (source.name, source.address) == ("ollama", "registry.ollama.ai")
    assert source.name_of("qwen3:8b") == "qwen3:8b"
