"""The bundled files say what their source says, and the source agrees with itself."""

import importlib.util
import re
import shutil
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.catalog import Catalog
from orchestrator.catalog.check import check
from orchestrator.gguf.deviations import DEVIATIONS
from orchestrator.model import BITS_PER_WEIGHT, Architecture

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "scripts" / "catalog"
BUNDLED = ROOT / "orchestrator" / "catalog"
CATALOG = Catalog.bundled()
MODELS: list[dict[str, Any]] = tomllib.loads((SOURCE / "models.toml").read_text("utf-8"))["model"]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    path = ROOT / "scripts" / "generate_catalog.py"
    spec = importlib.util.spec_from_file_location("generate_catalog", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bundled_files_are_those_of_the_source(
    generator: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().out


def test_the_check_notices_one_changed_figure(generator: ModuleType, tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "source")
    edited = tmp_path / "source" / "models.toml"
    edited.write_text(edited.read_text("utf-8").replace("4683073184", "4683073185"), "utf-8")
    arguments = ["--check", "--source", str(tmp_path / "source"), "--target", str(BUNDLED)]
    before = (BUNDLED / "models.json").read_bytes()
    assert generator.main(arguments) == 1
    assert (BUNDLED / "models.json").read_bytes() == before, "a check must not write"


def test_the_generator_writes_what_it_checks(generator: ModuleType, tmp_path: Path) -> None:
    assert generator.main(["--target", str(tmp_path)]) == 0
    assert generator.main(["--check", "--target", str(tmp_path)]) == 0
    for name in ("models.json", "accelerators.json"):
        assert (tmp_path / name).read_bytes().endswith(b"}\n")


def test_the_bundled_catalogue_passes_the_check_for_private_ones() -> None:
    check(CATALOG._document)  # noqa: SLF001 - bundled() skips the check, so it is made here


def test_the_catalogue_is_complete_and_stays_small() -> None:
    tags = [tag.lower() for c in CATALOG.candidates for tag in c.tags]
    assert len({c.model for c in CATALOG.candidates}) == len(MODELS) == 103
    assert len(CATALOG.candidates) == 1286
    assert len(tags) == len(set(tags)) == 1494
    assert (BUNDLED / "models.json").stat().st_size < 250_000


def test_no_fact_of_a_model_is_lost() -> None:
    for source in MODELS:
        for variant in source["variant"]:
            candidate = CATALOG.find(variant["tags"][0])
            facts = CATALOG.facts(candidate)
            assert set(candidate.tags) == set(variant["tags"])
            assert (candidate.model, candidate.license) == (source["name"], source["license"])
            assert candidate.min_server_version == source.get("min_ollama")
            assert candidate.released == facts.released == source["released"]
            assert set(source["source"]) <= set(facts.sources)
            assert facts.id == variant["id"]
            assert facts.size_listed == variant["size_listed"]
            assert facts.context_listed == variant["context_listed"]
            assert facts.header_bytes == variant.get("header_bytes")
            assert facts.hf_repos == tuple(source["hf_repos"])
            assert candidate.architecture.block_count == source["block_count"]
            assert candidate.architecture.feed_forward_length == source["feed_forward_length"]
            told = {"expert_gating_func", "expert_group_count", "rope_freq_base"}
            assert all(facts.shape[key] == source[key] for key in told & source.keys())


@pytest.mark.parametrize("source", MODELS, ids=[m["name"] for m in MODELS])
def test_the_shapes_that_the_tensors_need_are_those_of_the_source(source: dict[str, Any]) -> None:
    shape = CATALOG.find(source["variant"][0]["tags"][0]).architecture
    tower, heads = source.get("vision", {}), source.get("linear_num_value_heads", 0)
    shared = source.get("expert_shared_count", 0) * source.get("expert_feed_forward_length", 0)
    assert shape.tied_embeddings is (
        source["tie_word_embeddings"] and not source.get("gguf_extra_output_weight", False)
    )
    assert shape.q_lora_rank == source.get("q_lora_rank", 0)
    assert shape.leading_dense_block_count == source.get("leading_dense_block_count", 0)
    assert shape.expert_bias is source.get("expert_weights_bias", False)
    assert shape.expert_shared_feed_forward_length == (
        source.get("expert_shared_feed_forward_length", shared)
    )
    assert shape.rope_factor_count == source.get("rope_freqs", 0)
    assert shape.draft_block_count == source.get("mtp_in_gguf", False)
    assert shape.ssm_time_step_rank == heads
    assert shape.ssm_inner_size == heads * source.get("linear_value_head_dim", 0)
    assert shape.ssm_group_count == source.get("linear_num_key_heads", 0)
    assert shape.vision_block_count == tower.get("block_count", 0)
    assert shape.vision_deepstack_count == tower.get("deepstack_layers", 0)


def test_the_rule_of_a_build_comes_from_the_file_then_from_its_tags() -> None:
    rules = {c.tag: c.rule for c in CATALOG.candidates}
    for source in MODELS:
        for variant in source["variant"]:
            if rule := variant.get("quant_rule"):
                assert CATALOG.find(variant["tags"][0]).rule == rule
    assert rules["deepseek-r1:7b"] == "llama.cpp"
    assert rules["qwen3:8b-q8_0"] == "ollama-attn_v-f16"
    assert rules["qwen3:4b-instruct"] == "llama.cpp", "a later build than qwen3:4b-q8_0"
    assert CATALOG.find("qwen:7b-chat-q4_K_M").architecture.fused_attention
    assert not CATALOG.find("qwen:7b-chat-v1.5-q4_K_M").architecture.fused_attention
    assert {c.rule for c in CATALOG.candidates} == set(DEVIATIONS)


def kv_bytes_per_token(shape: Architecture) -> int:
    """Both caches at f16, of all layers that keep one."""
    if shape.mla_cache:
        return shape.attention_layers * (shape.kv_lora_rank + shape.rope_dimension_count) * 2
    heads = shape.head_count_kv * (shape.key_length + shape.value_length)
    return shape.attention_layers * heads * 2


@pytest.mark.parametrize("source", MODELS, ids=[m["name"] for m in MODELS])
def test_the_architecture_reproduces_the_cache_that_was_counted(source: dict[str, Any]) -> None:
    shape = CATALOG.find(source["variant"][0]["tags"][0]).architecture
    assert kv_bytes_per_token(shape) == source["kv_bytes_per_token_f16"]


def test_digests_are_well_formed_and_belong_to_one_file() -> None:
    digests = [c.digest for c in CATALOG.candidates if c.digest is not None]
    assert len(digests) == len(set(digests)) == 62
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests)


def test_one_id_is_one_file() -> None:
    ids = [CATALOG.facts(c).id for c in CATALOG.candidates]
    assert len(set(ids)) == len(ids)
    assert CATALOG.find("qwen:72b-text").model == "qwen:110b", "the library's tag is a 110B file"


def test_exact_sizes_are_those_that_the_library_rounds() -> None:
    exact = [c for c in CATALOG.candidates if c.bytes_basis == "exact"]
    assert len(exact) == 74
    for c in exact:
        listed = CATALOG.facts(c).size_listed or ""
        rounded = float(listed[:-2]) * {"MB": 1e6, "GB": 1e9, "TB": 1e12}[listed[-2:]]
        assert c.file_bytes == pytest.approx(rounded, rel=0.05)
        assert c.tensor_bytes is not None
        assert 0 < c.file_bytes - c.tensor_bytes < 25_000_000


def test_every_size_is_plausible_for_its_parameters() -> None:
    for c in CATALOG.candidates:
        if c.format == "gguf":
            ratio = c.file_bytes * 8 / (c.parameters_total * BITS_PER_WEIGHT[c.quantization])
            # Small models keep a large share in finer embeddings; none is smaller than its weights.
            assert 0.93 < ratio < (1.9 if c.parameters_total < 4e9 else 1.3), c.tag


def test_active_parameters_differ_only_for_mixtures_of_experts() -> None:
    for c in CATALOG.candidates:
        mixture = c.architecture.expert_count > 0
        assert (c.parameters_active < c.parameters_total) is mixture
        assert mixture is (c.architecture.expert_feed_forward_length > 0)
