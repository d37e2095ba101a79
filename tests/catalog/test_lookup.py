"""Names resolve as on the server; what does not exist is answered with the fact."""

import copy
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidInput, UnknownModel

CATALOG = Catalog.bundled()
SEVEN_B = "deepseek-r1:7b"

TINY: dict[str, Any] = {
    "schema": 1,
    "sources": ["made for this test"],
    "models": [
        {
            "name": "tiny:1m",
            "family": "qwen3",
            "parameters_total": 1_000_000,
            "sources": [0],
            "architecture": {
                "name": "qwen3",
                "block_count": 2,
                "embedding_length": 64,
                "feed_forward_length": 128,
                "head_count": 4,
                "head_count_kv": 2,
                "key_length": 16,
                "value_length": 16,
                "vocab_size": 256,
                "context_length": 512,
            },
            "variants": [
                {"tags": ["1m", "latest"], "quant": "Q8_0", "bytes": 1_062_500},
                {"tags": ["1m-fp16"], "quant": "F16", "size": "2MB"},
            ],
        }
    ],
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("deepseek-r1:7b", id="plain"),
        pytest.param("DeepSeek-R1:7B", id="case-does-not-matter"),
        pytest.param("library/deepseek-r1:7b", id="namespace"),
        pytest.param("registry.ollama.ai/library/deepseek-r1:7b", id="registry"),
        pytest.param("Registry.Ollama.AI/Library/DeepSeek-R1:7b", id="registry-in-capitals"),
        pytest.param("deepseek-r1:7b-qwen-distill-q4_K_M", id="alias"),
        pytest.param(" deepseek-r1:7b\n", id="blanks-of-a-pasted-name"),
    ],
)
def test_the_server_s_spellings_of_a_name_are_one_model(name: str) -> None:
    assert CATALOG.find(name) is CATALOG.find(SEVEN_B)


def test_a_missing_tag_means_latest() -> None:
    assert "deepseek-r1:latest" in CATALOG.find("deepseek-r1").tags
    assert CATALOG.find("deepseek-r1").tag == "deepseek-r1:8b"


def test_every_tag_is_found_by_its_own_name() -> None:
    tags = [(tag, c) for c in CATALOG.candidates for tag in c.tags]
    assert len(tags) == 1494
    assert all(CATALOG.find(tag) is c for tag, c in tags)


def test_a_candidate_carries_the_exact_figures_of_its_manifest() -> None:
    seven = CATALOG.find(SEVEN_B)
    assert (seven.file_bytes, seven.bytes_basis) == (4_683_073_184, "exact")
    assert seven.tensor_bytes == 4_677_120_000
    assert seven.digest is not None
    assert seven.digest.startswith("sha256:96c415656d37")
    assert (seven.family, seven.quantization, seven.format) == ("deepseek-r1", "Q4_K_M", "gguf")
    assert seven.parameters_active == seven.parameters_total == 7_615_616_512
    assert (seven.thinking, seven.released, seven.license) == (True, "2025-01-20", "MIT")


def test_a_size_known_from_the_page_alone_is_marked_as_listed() -> None:
    listed = CATALOG.find("deepseek-r1:7b-qwen-distill-q8_0")
    assert (listed.file_bytes, listed.bytes_basis) == (8_100_000_000, "listed")
    assert listed.tensor_bytes is None


def test_a_published_manifest_sum_is_exact_and_leaves_the_tensors_known() -> None:
    summed = CATALOG.find("qwen3:4b")
    assert (summed.file_bytes, summed.bytes_basis) == (2_497_293_931, "exact")
    assert summed.tensor_bytes == 2_491_323_904


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("deepseek-r1:7b", "chat"),
        ("qwq:32b", "chat"),
        ("r1-1776:70b", "chat"),
        ("qwen:7b", "chat"),
        ("qwen:7b-text", "base"),
        ("qwen2:7b-text-q4_0", "base"),
        ("qwen2.5:0.5b-base", "base"),
        ("deepseek-coder:base", "base"),
        ("qwen2.5-coder:7b", "code"),
        ("qwen3-coder-next", "code"),
        ("codeqwen:7b-code", "code"),
        ("qwen2-math:7b", "math"),
        ("qwen2.5vl:7b", "vision"),
        ("qwen3-vl:8b", "vision"),
        ("qwen3-embedding:8b", "embedding"),
    ],
)
def test_each_file_has_the_kind_that_it_was_trained_for(tag: str, kind: str) -> None:
    assert CATALOG.find(tag).kind == kind


@pytest.mark.parametrize(
    ("tag", "allowed"),
    [
        pytest.param("qwen2.5:3b", False, id="qwen-research"),
        pytest.param("qwen:1.8b", False, id="tongyi-research"),
        pytest.param("qwen2.5:72b", True, id="qwen-user-count-clause"),
        pytest.param("qwen:72b", True, id="tongyi-user-count-clause"),
        pytest.param("deepseek-v3:671b", True, id="deepseek-model-licence"),
        pytest.param("deepseek-r1:70b", True, id="llama-and-mit"),
    ],
)
def test_only_research_licences_forbid_commerce(tag: str, allowed: bool) -> None:
    assert CATALOG.find(tag).commercial_use is allowed


def test_a_hybrid_keeps_a_cache_in_every_fourth_layer_only() -> None:
    shape = CATALOG.find("qwen3-next:80b").architecture
    assert (shape.block_count, shape.attention_layers) == (48, 12)
    assert shape.recurrent_state_bytes == 79_036_416


def test_an_unsplit_mla_file_is_not_taken_for_one_with_a_latent_cache() -> None:
    assert not CATALOG.find("deepseek-r1:671b").architecture.mla_cache
    assert CATALOG.find("deepseek-v3.1:671b").architecture.mla_cache


def test_the_file_s_own_window_overrides_its_model_s() -> None:
    assert CATALOG.find("qwen:14b-chat-q4_0").architecture.context_length == 8192
    assert CATALOG.find("qwen:14b").architecture.context_length == 32768


@pytest.mark.parametrize(
    ("wrong", "facts", "nearest"),
    [
        ("deepseek-r1:6b", ["671B plus six distills"], ["deepseek-r1:7b"]),
        (
            "deepseek-r1:16b",
            ["671B plus six distills (1.5b, 7b, 8b, 14b, 32b, 70b)", "16B is DeepSeek-V2-Lite"],
            ["deepseek-r1:14b", "deepseek-v2:16b", "deepseek-coder-v2:16b"],
        ),
        ("deepseek-r1:67b", ["DeepSeek-LLM (2023)"], ["deepseek-r1:70b", "deepseek-llm:67b"]),
        ("deepseek-r1:6.7b", ["DeepSeek-Coder"], ["deepseek-r1:7b", "deepseek-coder:6.7b"]),
        ("r1:16b", ["16B is DeepSeek-V2-Lite"], ["deepseek-r1:14b", "deepseek-v2:16b"]),
        ("DeepSeek R1 67B", ["DeepSeek-LLM"], ["deepseek-r1:70b"]),
        ("qwen2.5:1.8b", ["1.8B is Qwen1.5"], ["qwen2.5:1.5b", "qwen:1.8b"]),
        ("deepseek-v3:7b", ["one size, 671B"], ["deepseek-v3:671b", "deepseek-r1:7b"]),
        ("qwen3:3b", ["comes in 0.6b, 1.7b, 4b"], ["qwen3:4b"]),
    ],
)
def test_a_size_that_circulates_is_corrected(
    wrong: str, facts: list[str], nearest: list[str]
) -> None:
    with pytest.raises(UnknownModel) as caught:
        CATALOG.find(wrong)
    error = caught.value
    assert error.what.startswith(f"{wrong} does not exist: ")
    assert all(fact in error.what for fact in facts)
    assert error.hint.startswith(f"try `deploy estimate {nearest[0]}`")
    assert error.details["nearest"][0] == nearest[0]
    assert set(nearest) <= set(error.details["nearest"])


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        pytest.param("r1:14b", "deepseek-r1:14b", id="shorthand"),
        pytest.param("qwen2.5-vl:7b", "qwen2.5vl:7b", id="hyphen-too-many"),
        pytest.param("qwen1.5:7b", "qwen:7b", id="library-s-name-of-1.5"),
        pytest.param("deepseek-r1:7b-q5_K_M", "deepseek-r1:7b", id="quantization-not-offered"),
        pytest.param("stranger/qwen3:8b", "qwen3:8b", id="another-namespace"),
        pytest.param("https://ollama.com/library/qwen3:8b", "qwen3:8b", id="pasted-address"),
        pytest.param("llama3:8b", "deepseek-r1:8b", id="foreign-family-of-that-size"),
    ],
)
def test_a_misspelt_name_leads_to_the_real_one(wrong: str, first: str) -> None:
    with pytest.raises(UnknownModel, match="the catalogue has no") as caught:
        CATALOG.find(wrong)
    assert caught.value.details["nearest"][0] == first


def test_nothing_like_it_is_answered_with_the_list_not_with_a_guess() -> None:
    with pytest.raises(UnknownModel) as caught:
        CATALOG.find("gpt")
    assert caught.value.details["nearest"] == []
    assert "deploy catalog" in caught.value.hint


def test_control_characters_of_a_name_never_reach_the_terminal() -> None:
    with pytest.raises(UnknownModel) as caught:
        CATALOG.find("qwen3\x1b[31m:8b")
    assert "\x1b" not in caught.value.what + caught.value.hint


@given(st.text(max_size=300))
def test_any_text_is_found_or_answered_with_real_names(text: str) -> None:
    try:
        tags = [CATALOG.find(text).tag]
    except UnknownModel as e:
        tags = e.details["nearest"]
    assert all(tag in CATALOG.find(tag).tags for tag in tags)


def test_facts_say_where_they_come_from() -> None:
    facts = CATALOG.facts(CATALOG.find(SEVEN_B))
    assert facts.base_model == "Qwen/Qwen2.5-Math-7B"
    assert facts.hf_repos == ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",)
    assert len(facts.gguf_repos) == 2
    assert (facts.size_listed, facts.context_listed) == ("4.7GB", "128K")
    assert facts.header_bytes == 5_953_184
    assert facts.sources[0].startswith("header of the published DeepSeek-R1-Distill-Qwen-7B")
    assert facts.moved == ()


def test_facts_remember_what_a_moved_tag_named_before() -> None:
    (before,) = CATALOG.facts(CATALOG.find("deepseek-r1:8b")).moved
    assert (before.tag, before.seen, before.bytes) == ("deepseek-r1:8b", "2025-01-20", 4920736320)
    assert before.source is not None
    assert before.source.startswith("registry manifests")


def test_facts_are_those_of_the_file_even_after_its_header_was_read() -> None:
    seven = CATALOG.find(SEVEN_B)
    assert CATALOG.facts(replace(seven, tensor_bytes=1)) == CATALOG.facts(seven)


def test_facts_of_a_stranger_are_refused() -> None:
    tiny = Catalog.from_json(TINY).find("tiny")
    with pytest.raises(UnknownModel, match="tiny:1m"):
        CATALOG.facts(tiny)


def test_the_source_of_a_minimum_version_is_told() -> None:
    candidate = CATALOG.find("qwen3-vl:8b")
    source = CATALOG.facts(candidate).min_server_version_source
    assert candidate.min_server_version == "0.12.7"
    assert source is not None
    assert "v0.12.7" in source


def test_a_private_catalogue_is_read_like_the_bundled_one() -> None:
    private = Catalog.from_json(TINY)
    latest = private.find("Tiny")
    assert latest.tags == ("tiny:1m", "tiny:latest")
    assert (latest.family, latest.kind, latest.commercial_use) == ("qwen3", "chat", True)
    assert private.find("tiny:1m-fp16").file_bytes == 2_000_000
    assert private.facts(latest).sources == ("made for this test",)
    with pytest.raises(UnknownModel):
        private.find(SEVEN_B)


ABSENT = object()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("schema",), 2, r"\$\.schema is 2"),
        (("models",), ABSENT, r"\$\.models is missing"),
        (("models",), [], r"\$\.models is empty"),
        (("models", 0), "tiny", r"\$\.models\[0\] is \"tiny\"; it must be an object"),
        (("models", 0, "name"), "tiny", "NAME:TAG"),
        (("models", 0, "name"), "../etc:1m", "is not a model name"),
        (("models", 0, "parameters_total"), 0, r"parameters_total is 0"),
        (("models", 0, "layout"), "mine", r"models\[0\]\.layout is 'mine'; known: llama\.cpp"),
        (("models", 0, "variants", 0, "layout"), ["x"], r"variants\[0\]\.layout is \[\"x\"\]"),
        (("models", 0, "variants", 0, "fused_attention"), 1, r"fused_attention is 1"),
        (("models", 0, "architecture", "block_count"), ABSENT, r"block_count is missing"),
        (("models", 0, "architecture", "block_count"), True, r"block_count is true"),
        (("models", 0, "architecture", "head_count_kv"), -1, r"head_count_kv is -1"),
        (("models", 0, "architecture", "key_length"), "16", r"key_length is \"16\""),
        (("models", 0, "architecture", "mla_cache"), 1, r"mla_cache is 1; it must be true or"),
        (("models", 0, "kind"), "poem", r"kind is 'poem'"),
        (("models", 0, "thinking"), "yes", r"thinking is \"yes\""),
        (("models", 0, "sources"), [1], r"sources\[0\] is 1"),
        (("models", 0, "variants", 0, "quant"), "Q9", r"variants\[0\]\.quant is 'Q9'"),
        (("models", 0, "variants", 0, "tags"), [], r"variants\[0\]\.tags is empty"),
        (("models", 0, "variants", 1, "tags"), ["1M"], "is named twice"),
        (("models", 0, "variants", 1, "size"), "big", r"variants\[1\]\.size is 'big'"),
        (("models", 0, "variants", 0, "bytes"), ABSENT, r"variants\[0\]\.size is ''"),
        (("models", 0, "variants", 0, "bytes"), -5, r"variants\[0\]\.bytes is -5"),
        (("models", 0, "variants", 0, "digest"), "sha256:1", r"variants\[0\]\.digest"),
        (("former",), [{"tag": "tiny:1m"}], r"\$\.former\[0\]\.seen is missing"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_the_place(
    path: tuple[str | int, ...], value: object, says: str
) -> None:
    document = copy.deepcopy(TINY)
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    if value is ABSENT:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    with pytest.raises(InvalidInput, match=says) as caught:
        Catalog.from_json(document)
    assert not isinstance(caught.value, UnknownModel)


def test_unknown_keys_of_a_catalogue_are_ignored() -> None:
    document = copy.deepcopy(TINY)
    document["models"][0]["architecture"]["colour"] = "blue"
    document["models"][0]["note"] = 1
    assert Catalog.from_json(document).find("tiny").architecture.block_count == 2


def test_reading_the_bundled_catalogue_does_not_delay_a_plan() -> None:
    document = CATALOG._document  # noqa: SLF001 - a fresh catalogue without its caches
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        assert len(Catalog(document).candidates) == 1286
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05, "6.5 ms where it was written; a slow runner has eight times as much"
