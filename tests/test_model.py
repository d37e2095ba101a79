"""Model names as the server reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model import ModelRef, registry_address
from tests.shapes import CATALOG, made

WORD = st.from_regex(r"[a-z0-9_][a-z0-9_\-]{0,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        pytest.param("qwen3", "qwen3:latest", id="a-missing-tag-is-latest"),
        pytest.param("deepseek-r1:7b", "deepseek-r1:7b", id="library-is-left-out"),
        pytest.param("library/qwen3:8b", "qwen3:8b", id="library-may-be-named"),
        pytest.param("someone/qwen3:8b", "someone/qwen3:8b", id="namespace"),
        pytest.param("registry.ollama.ai/library/qwen3:8b", "qwen3:8b", id="default-registry"),
        pytest.param("127.0.0.1:5000/library/a:b", "127.0.0.1:5000/library/a:b", id="port"),
        pytest.param("deploy/a:7b-ctx4096", "deploy/a:7b-ctx4096", id="derived"),
    ],
)
def test_a_name_has_one_short_form(text: str, short: str) -> None:
    assert str(ModelRef.parse(text)) == short
    assert ModelRef.parse(short) == ModelRef.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("qwen3:", id="empty-tag"),
        pytest.param(":8b", id="empty-name"),
        pytest.param("a/b/c/d:e", id="too-many-parts"),
        pytest.param("a//b", id="empty-part"),
        pytest.param("../etc/passwd", id="path-upwards"),
        pytest.param("-rf", id="looks-like-a-flag"),
        pytest.param("qwen3:8b;rm", id="shell-word"),
        pytest.param("qwen3:8b\n", id="line-end"),
        pytest.param("qwen 3", id="blank"),
        pytest.param("a" * 81, id="longer-than-the-server-takes"),
        pytest.param("host:123456/library/a", id="no-port"),
    ],
)
def test_what_the_server_would_answer_with_400_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a model name"):
        ModelRef.parse(text)


@given(WORD, WORD, WORD)
def test_the_short_form_names_the_same_model(namespace: str, name: str, tag: str) -> None:
    ref = ModelRef(name, tag, namespace)
    assert ModelRef.parse(str(ref)) == ref
    assert ModelRef.parse(str(ref.at("127.0.0.1:5000"))) == ref.at("127.0.0.1:5000")


def test_a_file_is_called_by_its_shortest_tag_but_never_latest() -> None:
    tags = ("m:latest", "m:8b-instruct-q4_K_M", "m:instruct")
    assert made("m:8b", 8, tags=tags).tag == "m:instruct"
    assert not [c.tag for c in CATALOG.candidates if c.tag.endswith(":latest") and c.tags[1:]]


def test_the_output_counts_as_a_layer() -> None:
    shape = CATALOG.find("deepseek-r1:14b").architecture
    assert (shape.block_count, shape.layers, shape.attention_layers) == (48, 49, 48)
    hybrid = CATALOG.find("qwen3-next:80b").architecture
    assert (hybrid.block_count, hybrid.attention_layers) == (48, 12)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:5055", ("127.0.0.1:5055", True)),
        ("https://mirror.example", ("mirror.example", False)),
        ("mirror.example:8443/", ("mirror.example:8443", False)),
    ],
)
def test_a_registry_is_reached_as_its_url_says(url: str, address: tuple[str, bool]) -> None:
    assert registry_address(url) == address


@pytest.mark.parametrize("url", ["ftp://host", "http://", "https://host/path", "", "host:99999"])
def test_what_is_no_registry_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"registry|[Pp]ort"):
        registry_address(url)
