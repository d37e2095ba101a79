"""The layout against what is known of true files: their tables, exact sizes, listed sizes."""

import tomllib
from collections import Counter
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.fit import SUPPORTED
from orchestrator.gguf import facts
from orchestrator.gguf.layout import laid_out, layout
from orchestrator.gguf.mixture import QUANTIZATIONS
from orchestrator.gguf.types import Tensor, stored_bytes
from orchestrator.model import BITS_PER_WEIGHT, Architecture
from tests.real import published
from tests.shapes import CATALOG, SMOLLM2, shape_of

SOURCE = Path(__file__).resolve().parents[2] / "scripts" / "catalog" / "models.toml"
MODELS: list[dict[str, Any]] = tomllib.loads(SOURCE.read_text("utf-8"))["model"]
EXACT = [v for m in MODELS for v in m["variant"] if "computed_tensor_bytes" in v]
GGUF = [c for c in CATALOG.candidates if c.format == "gguf"]
# One listed size fits no layout: the page shows 71 GB, the model with its drafts takes 72.
OUTLIERS = {"qwen3.6:35b-a3b-bf16"}
ONE_OF_EACH = {c.architecture.name: c for c in reversed(GGUF)}


def test_every_quantization_of_the_library_is_known() -> None:
    assert {c.quantization for c in GGUF} <= QUANTIZATIONS == set(BITS_PER_WEIGHT)


@pytest.mark.parametrize("variant", EXACT, ids=[v["tags"][0] for v in EXACT])
def test_a_file_of_known_size_is_reproduced_to_the_byte(variant: dict[str, Any]) -> None:
    candidate = CATALOG.find(variant["tags"][0])
    table = layout(candidate.architecture, candidate.quantization, candidate.rule)
    assert len(table) == variant["computed_tensor_count"]
    assert (
        sum(stored_bytes(t.type, prod(t.shape)) for t in table)
        == (variant["computed_tensor_bytes"])
    )
    # What is left of the file is its header: metadata, tensor table, and the tokenizer's entries.
    header = candidate.file_bytes - variant["computed_tensor_bytes"]
    assert 22 < header / candidate.architecture.vocab_size < 81


def test_all_files_of_known_size_are_there() -> None:
    assert len(EXACT) == 74


def test_every_listed_size_is_met_within_its_rounding() -> None:
    wrong = set()
    for c in GGUF:
        listed = CATALOG.facts(c).size_listed or ""
        number, unit = listed[:-2], {"MB": 1e6, "GB": 1e9, "TB": 1e12}[listed[-2:]]
        half = unit * 10 ** -len(number.partition(".")[2]) / 2
        tensors = laid_out(c.architecture, c.quantization, c.rule).total_bytes
        file = tensors + 40 * c.architecture.vocab_size
        if abs(file - float(number) * unit) > half + 3e6:  # headers differ by a few MB
            wrong.add(c.tag)
    assert wrong == OUTLIERS


def test_the_published_r1_distill_7b_is_reproduced_tensor_by_tensor(shared: Path) -> None:
    table = published.r1_distill_7b(shared)
    assert len(table.tensors) == 339
    assert by_name(layout(shape_of("deepseek-r1:7b"), "Q4_K_M")) == table.tensors


def test_smollm2_is_reproduced_tensor_by_tensor(shared: Path) -> None:
    # Rows of 576 elements do not fill blocks of 256: its embedding is Q8_0, where others have Q6_K.
    table = published.smollm2(shared)
    assert by_name(layout(SMOLLM2, "Q4_1")) == table.tensors
    assert table.tensors["token_embd.weight"][0] == "Q8_0"


@pytest.mark.parametrize(
    ("read", "shape"),
    [
        pytest.param(published.r1_distill_7b, shape_of("deepseek-r1:7b"), id="r1-distill-7b"),
        pytest.param(published.smollm2, SMOLLM2, id="smollm2"),
    ],
)
def test_a_published_header_makes_the_shape_that_reproduces_it(
    read: Any, shape: Architecture, shared: Path
) -> None:
    table = read(shared)
    tensors = [Tensor(name=n, type=t, shape=s) for n, (t, s, _) in table.tensors.items()]
    found = facts.architecture(table.metadata, tensors)
    quantization = facts.quantization(table.metadata)
    assert by_name(layout(found, quantization)) == table.tensors
    assert found == replace(shape, rope_dimension_count=found.rope_dimension_count)


@pytest.mark.parametrize("tag", [c.tag for c in ONE_OF_EACH.values()] + ["qwen:7b-chat-q4_K_M"])
def test_the_header_of_a_layout_makes_the_shape_that_it_was_laid_out_from(tag: str) -> None:
    shape = CATALOG.find(tag).architecture
    table = layout(shape, "Q4_K_M")
    found = facts.architecture(keys_of(shape), table)
    assert laid_out(found, "Q4_K_M") == laid_out(shape, "Q4_K_M")
    assert by_name(layout(found, "Q4_K_M")) == by_name(table)
    parts, whole = facts.weights(table, found.block_count), laid_out(found, "Q4_K_M")
    assert parts.per_layer_bytes == whole.per_layer_bytes
    assert parts.expert_layer_bytes == whole.expert_layer_bytes
    assert parts.largest_expert_bytes == whole.largest_expert_bytes
    assert (parts.embedding_bytes, parts.output_bytes, parts.draft_bytes) == (
        (whole.embedding_bytes, whole.output_bytes, whole.draft_bytes)
    )
    # Some biases of a vision tower are no multiple of the 32 bytes at which tensors begin.
    assert 0 <= whole.vision_bytes - parts.vision_bytes < 2048


def keys_of(shape: Architecture) -> dict[str, Any]:
    """Return the keys that llama.cpp's and Ollama's converters write for such a shape."""
    every = shape.block_count // shape.attention_layers
    values = {
        "block_count": shape.block_count + shape.draft_block_count,
        "nextn_predict_layers": shape.draft_block_count,
        "embedding_length": shape.embedding_length,
        "feed_forward_length": shape.feed_forward_length,
        "context_length": shape.context_length,
        "attention.head_count": shape.head_count,
        "attention.head_count_kv": shape.head_count_kv,
        "attention.key_length": shape.key_length,
        "attention.value_length": shape.value_length,
        "attention.kv_lora_rank": shape.kv_lora_rank,
        "attention.q_lora_rank": shape.q_lora_rank,
        "rope.dimension_count": shape.rope_dimension_count,
        "expert_count": shape.expert_count,
        "expert_used_count": shape.expert_used_count,
        "expert_feed_forward_length": shape.expert_feed_forward_length,
        "leading_dense_block_count": shape.leading_dense_block_count,
        "full_attention_interval": every if every > 1 else 0,
        "ssm.conv_kernel": shape.ssm_conv_kernel,
        "ssm.inner_size": shape.ssm_inner_size,
        "ssm.state_size": shape.ssm_state_size,
        "ssm.group_count": shape.ssm_group_count,
        "ssm.time_step_rank": shape.ssm_time_step_rank,
        "vision.block_count": shape.vision_block_count,
        "vision.embedding_length": shape.vision_embedding_length,
        "vision.patch_size": shape.vision_patch_size,
    }
    named = {f"{shape.name}.{key}": value for key, value in values.items() if value}
    return {"general.architecture": shape.name, **named}


def test_the_keys_of_a_split_latent_cache_are_those_of_the_latent() -> None:
    """llama.cpp writes the narrow cache as if it were one head; the true heads have own keys."""
    shape = shape_of("deepseek-v3.1:671b")
    keys = keys_of(shape) | {
        "deepseek2.attention.head_count_kv": 1,
        "deepseek2.attention.key_length": 576,
        "deepseek2.attention.value_length": 512,
        "deepseek2.attention.key_length_mla": 192,
        "deepseek2.attention.value_length_mla": 128,
    }
    found = facts.architecture(keys, layout(shape, "Q4_K_M"))
    assert laid_out(found, "Q4_K_M") == laid_out(shape, "Q4_K_M")


def test_every_architecture_that_a_plan_supports_is_laid_out() -> None:
    assert set(ONE_OF_EACH) == set(SUPPORTED)


def by_name(table: tuple[Tensor, ...]) -> dict[str, tuple[str, tuple[int, ...], int]]:
    assert len({t.name for t in table}) == len(table), "a name twice"
    return {t.name: (t.type, t.shape, t.size_bytes) for t in table}


@pytest.mark.parametrize("name", sorted(ONE_OF_EACH))
def test_the_sums_are_those_of_the_table_at_every_quantization(name: str) -> None:
    candidate = ONE_OF_EACH[name]
    shape = candidate.architecture
    for quantization in sorted(QUANTIZATIONS):
        for rule in {"llama.cpp", candidate.rule}:
            found = laid_out(shape, quantization, rule)
            sizes: Counter[str] = Counter()
            for t in layout(shape, quantization, rule):
                sizes[part(t.name, shape.block_count)] += stored_bytes(t.type, prod(t.shape))
            assert found.total_bytes == sizes.total()
            assert (found.embedding_bytes, found.output_bytes) == (sizes["embd"], sizes["output"])
            assert (found.vision_bytes, found.draft_bytes) == (sizes["vision"], sizes["draft"])
            assert found.per_layer_bytes == tuple(sizes[f"{i}"] for i in range(shape.block_count))


@pytest.mark.parametrize("name", sorted(ONE_OF_EACH))
def test_experts_are_told_apart(name: str) -> None:
    shape = ONE_OF_EACH[name].architecture
    found = laid_out(shape, "Q4_K_M")
    table = {t.name: t.size_bytes for t in layout(shape, "Q4_K_M")}
    experts = {n: s for n, s in table.items() if "_exps." in n}
    told = [
        sum(s for n, s in experts.items() if n.startswith(f"blk.{i}."))
        for i in range(shape.block_count)
    ]
    assert found.expert_layer_bytes == (tuple(told) if shape.expert_count else ())
    assert found.largest_expert_bytes == max(experts.values(), default=0)


def part(name: str, blocks: int) -> str:
    first, _, rest = name.partition(".")
    if first == "blk":
        block = rest.partition(".")[0]
        return block if int(block) < blocks else "draft"
    return {"token_embd": "embd", "v": "vision"}.get(first, "output")


@pytest.mark.parametrize("model", MODELS, ids=[m["name"] for m in MODELS])
def test_the_elements_are_the_parameters_of_the_model(model: dict[str, Any]) -> None:
    shape = CATALOG.find(model["variant"][0]["tags"][0]).architecture
    table = layout(replace(shape, draft_block_count=0), "F16")
    counted = sum(prod(t.shape) for t in table if t.name != "rope_freqs.weight")
    # Two builds hold the embedding a second time, as an output matrix of its own.
    twice = bool(model.get("gguf_extra_output_weight"))
    counted -= twice * shape.vocab_size * shape.embedding_length
    assert counted == pytest.approx(model["parameters_total"], rel=2e-6)


def test_a_finer_quantization_is_never_smaller() -> None:
    order = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "F32")
    for candidate in ONE_OF_EACH.values():
        sizes = [laid_out(candidate.architecture, q).total_bytes for q in order]
        assert sizes == sorted(sizes), candidate.tag


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("gemma3", "Q4_K_M", "llama.cpp"), "architecture gemma3", id="architecture"),
        pytest.param(("qwen2", "Q9_K", "llama.cpp"), "quantization Q9_K", id="quantization"),
        pytest.param(("qwen2", "Q4_K_M", "mine"), "rule 'mine'", id="rule"),
    ],
)
@pytest.mark.parametrize("ask", [layout, laid_out])
def test_what_is_not_known_is_refused_by_name(
    ask: Any, arguments: tuple[str, str, str], message: str
) -> None:
    name, quantization, rule = arguments
    with pytest.raises(InvalidInput, match=message) as caught:
        ask(replace(SMOLLM2, name=name), quantization, rule)
    assert "known: " in (caught.value.hint or "")
