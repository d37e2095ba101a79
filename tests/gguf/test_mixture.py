"""Which tensor gets which type: as llama.cpp's own snapshots say, and where builds deviate.

The expected layers are those of llama.cpp's tests/snapshots/*.schema, which its quantizer prints.
"""

from dataclasses import replace

import pytest

from orchestrator.gguf.layout import layout
from orchestrator.model import Architecture
from tests.shapes import CATALOG, SMOLLM2, TINY, shape_of

THIRDS_OF_40 = {*range(5), *range(7, 35, 3), *range(35, 40)}
THIRDS_OF_64 = {*range(8), *range(10, 56, 3), *range(56, 64)}
FULL_OF_64 = set(range(3, 64, 4))  # hybrids attend in full in each fourth layer
QWEN35 = replace(shape_of("qwen3.5:27b"), draft_block_count=0)
WITH_DRAFT = shape_of("qwen3.8:27b")
QWEN3 = shape_of("qwen3:14b")
NEXT = shape_of("qwen3-coder-next:latest")
LLAMA_70B = shape_of("deepseek-r1:70b")
V31 = shape_of("deepseek-v3.1:671b")


def finer(shape: Architecture, quantization: str, tensor: str, kind: str) -> set[int]:
    """Return the layers in which a tensor has that type."""
    suffix = f".{tensor}.weight"
    return {
        int(t.name.split(".")[1])
        for t in layout(shape, quantization)
        if t.name.startswith("blk.") and t.name.endswith(suffix) and t.type == kind
    }


@pytest.mark.parametrize(
    ("shape", "quantization", "tensor", "kind", "layers"),
    [
        pytest.param(QWEN3, "Q4_K_M", "attn_v", "Q6_K", THIRDS_OF_40, id="v"),
        pytest.param(QWEN3, "Q4_K_M", "ffn_down", "Q6_K", THIRDS_OF_40, id="down"),
        pytest.param(QWEN3, "Q5_K_M", "ffn_down", "Q6_K", THIRDS_OF_40, id="5-down"),
        pytest.param(QWEN3, "Q4_K_S", "attn_v", "Q5_K", set(range(4)), id="s-v"),
        pytest.param(QWEN3, "Q4_K_S", "ffn_down", "Q5_K", set(range(5)), id="s-down"),
        pytest.param(QWEN3, "Q3_K_M", "attn_v", "Q5_K", {0, 1}, id="3m-v"),
        pytest.param(QWEN3, "Q3_K_M", "ffn_down", "Q5_K", {0, 1}, id="3m-down"),
        pytest.param(QWEN3, "Q3_K_M", "attn_output", "Q4_K", set(range(40)), id="3m-output"),
        pytest.param(QWEN3, "Q3_K_L", "attn_v", "Q5_K", set(range(40)), id="3l-v"),
        pytest.param(QWEN3, "Q3_K_L", "attn_output", "Q5_K", set(range(40)), id="3l-output"),
        pytest.param(QWEN3, "Q2_K", "attn_v", "Q4_K", set(range(40)), id="2-v-of-few-heads"),
        pytest.param(
            shape_of("qwen3:0.6b"), "Q2_K", "attn_v", "Q3_K", set(range(28)), id="2-v-of-many-heads"
        ),
        pytest.param(shape_of("qwen3:0.6b"), "Q2_K", "ffn_up", "Q2_K", set(range(28)), id="2-up"),
        pytest.param(shape_of("qwen3:0.6b"), "Q3_K_M", "ffn_down", "Q5_K", {0}, id="3m-of-28"),
        pytest.param(LLAMA_70B, "Q2_K", "attn_v", "Q5_K", set(range(80)), id="70b-2"),
        pytest.param(LLAMA_70B, "Q3_K_S", "attn_v", "Q5_K", set(range(80)), id="70b-3s"),
        pytest.param(LLAMA_70B, "Q3_K_M", "attn_v", "Q5_K", set(range(80)), id="70b-3m"),
        pytest.param(LLAMA_70B, "Q3_K_M", "ffn_down", "Q5_K", set(range(5)), id="70b-3m-down"),
        pytest.param(V31, "Q3_K_M", "ffn_down", "Q5_K", {0, 1, 2}, id="experts-by-layer"),
        pytest.param(V31, "Q3_K_M", "ffn_down_exps", "Q4_K", set(range(3, 61)), id="experts-down"),
        pytest.param(V31, "Q2_K", "ffn_down_shexp", "Q3_K", set(range(3, 61)), id="shared-down"),
        pytest.param(NEXT, "Q3_K_M", "attn_qkv", "Q5_K", {0, 1}, id="linear-3m"),
        pytest.param(NEXT, "Q4_K_S", "attn_qkv", "Q5_K", {0, 1, 2}, id="linear-s"),
        pytest.param(NEXT, "Q4_K_S", "attn_v", "Q5_K", {3}, id="full-counts-with-linear"),
        pytest.param(NEXT, "Q4_K_S", "ffn_down_exps", "Q5_K", set(range(6)), id="linear-s-down"),
        pytest.param(NEXT, "Q2_K", "attn_v", "Q4_K", set(range(3, 48, 4)), id="linear-2-v"),
        pytest.param(
            QWEN35, "Q4_K_M", "attn_qkv", "Q6_K", THIRDS_OF_64 - FULL_OF_64, id="linear-m"
        ),
        pytest.param(QWEN35, "Q4_K_M", "attn_v", "Q6_K", THIRDS_OF_64 & FULL_OF_64, id="full-m"),
        pytest.param(QWEN35, "Q5_K_M", "ffn_down", "Q6_K", THIRDS_OF_64, id="hybrid-down"),
        pytest.param(
            WITH_DRAFT, "Q4_K_M", "ffn_down", "Q6_K", {*THIRDS_OF_64, 64}, id="draft-down"
        ),
        pytest.param(
            WITH_DRAFT, "Q2_K", "attn_output", "Q3_K", {*FULL_OF_64, 64}, id="draft-attends"
        ),
    ],
)
def test_layers_are_finer_where_llama_cpp_makes_them_so(
    shape: Architecture, quantization: str, tensor: str, kind: str, layers: set[int]
) -> None:
    assert finer(shape, quantization, tensor, kind) == layers


def types(shape: Architecture, quantization: str, rule: str = "llama.cpp") -> dict[str, str]:
    return {t.name: t.type for t in layout(shape, quantization, rule)}


@pytest.mark.parametrize(
    ("quantization", "embedding", "output"),
    [
        pytest.param("Q4_K_M", "Q4_K", "Q6_K", id="k"),
        pytest.param("Q4_0", "Q4_0", "Q6_K", id="legacy"),
        pytest.param("Q8_0", "Q8_0", "Q8_0", id="q8"),
        pytest.param("Q6_K", "Q6_K", "Q6_K", id="q6"),
        pytest.param("F16", "F16", "F16", id="f16"),
        pytest.param("F32", "F32", "F32", id="f32"),
    ],
)
def test_the_output_is_finer_and_takes_the_embedding_with_it_when_tied(
    quantization: str, embedding: str, output: str
) -> None:
    apart = types(TINY, quantization)
    assert (apart["token_embd.weight"], apart["output.weight"]) == (embedding, output)
    tied = types(replace(TINY, tied_embeddings=True), quantization)
    assert tied["token_embd.weight"] == output
    assert "output.weight" not in tied


@pytest.mark.parametrize(
    ("columns", "quantization", "kind"),
    [
        pytest.param(5504, "Q2_K", "Q4_0", id="q3-k"),  # ffn_down is Q3_K in a Q2_K file
        pytest.param(5504, "Q4_K_S", "Q5_0", id="q4-k"),
        pytest.param(5504, "Q5_K_S", "Q5_1", id="q5-k"),
        pytest.param(5504, "Q6_K", "Q8_0", id="q6-k"),
        pytest.param(5504, "Q4_0", "Q4_0", id="blocks-of-32-fit"),
        pytest.param(5500, "Q4_0", "F16", id="not-even-32"),
        pytest.param(5500, "Q4_K_S", "F16", id="not-even-32-after-the-first-choice"),
    ],
)
def test_rows_that_do_not_fill_blocks_get_smaller_ones(
    columns: int, quantization: str, kind: str
) -> None:
    shape = replace(TINY, feed_forward_length=columns)
    assert types(shape, quantization)["blk.3.ffn_down.weight"] == kind


def test_eight_experts_get_a_finer_attention() -> None:
    eight = replace(shape_of("qwen3:30b"), expert_count=8)
    found = types(eight, "Q4_K_M")
    names = ("attn_v", "attn_k", "attn_output", "attn_q")
    assert [found[f"blk.9.{n}.weight"] for n in names] == ["Q8_0", "Q8_0", "Q5_K", "Q4_K"]
    assert types(eight, "Q5_K_S")["blk.9.attn_output.weight"] == "Q5_K"
    assert types(eight, "Q6_K")["blk.9.attn_output.weight"] == "Q6_K"
    assert types(eight, "F16")["blk.9.attn_k.weight"] == "F16"


@pytest.mark.parametrize(
    ("tag", "tensor", "kind", "plain"),
    [
        pytest.param("deepseek-r1:671b", "blk.60.attn_kv_b", "Q4_K", "Q6_K", id="2024-latent"),
        pytest.param("deepseek-coder:1.3b-base-q2_K", "blk.5.ffn_gate", "Q3_K", "Q2_K", id="2023"),
        pytest.param(
            "deepseek-coder:1.3b-base-q3_K_S", "blk.5.ffn_down", "Q4_1", "Q4_0", id="2023-fallback"
        ),
        pytest.param("qwen:7b-chat-q4_K_M", "blk.0.attn_qkv", "Q5_K", "Q6_K", id="fused"),
        pytest.param("qwen3:8b", "blk.20.attn_v", "F16", "Q4_K", id="v-taken-for-vision"),
        pytest.param("qwen3:8b-q8_0", "blk.20.attn_v", "F16", "Q8_0", id="so-at-q8"),
        pytest.param("qwen3-next:80b", "blk.24.ffn_down_exps", "Q6_K", "Q4_K", id="downs-counted"),
        pytest.param("qwen3-next:80b", "blk.7.ffn_down_exps", "Q6_K", "Q4_K", id="experts-first"),
        pytest.param("qwen3-next:80b", "blk.7.ffn_down_shexp", "Q4_K", "Q4_K", id="shared-next"),
        pytest.param("qwen2.5vl:72b", "blk.20.attn_v", "Q4_K", "Q5_K", id="no-70b"),
        pytest.param("qwen2.5vl:7b", "v.blk.0.attn_v", "Q6_K", "F16", id="tower-first"),
        pytest.param("qwen2.5vl:72b", "v.blk.0.attn_v", "Q4_K", "F16", id="tower-last"),
        pytest.param("qwen3.5:9b", "blk.0.attn_qkv", "Q4_K", "Q6_K", id="linear-table"),
        pytest.param("qwen3.5:122b", "blk.48.ffn_down_exps", "Q4_K", "Q6_K", id="draft-apart"),
        pytest.param("qwen3.6:35b", "blk.20.ffn_down_exps", "Q6_K", "Q4_K", id="experts-table"),
    ],
)
def test_builds_of_the_library_deviate(tag: str, tensor: str, kind: str, plain: str) -> None:
    found = CATALOG.find(tag)
    name = f"{tensor}.weight"
    assert types(found.architecture, found.quantization, found.rule)[name] == kind
    assert types(found.architecture, found.quantization)[name] == plain


@pytest.mark.parametrize("name", ["blk.0.ffn_gate_inp.weight", "blk.0.ssm_conv1d.weight"])
def test_small_matrices_stay_in_f32(name: str) -> None:
    assert types(NEXT, "Q4_0")[name] == types(NEXT, "F16")[name] == "F32"


def test_the_tower_is_not_quantized_and_follows_a_float_file() -> None:
    shape = shape_of("qwen3-vl:8b")
    for quantization, kind in (("Q4_K_M", "F16"), ("Q8_0", "F16"), ("BF16", "BF16")):
        assert types(shape, quantization)["v.blk.3.attn_v.weight"] == kind
    assert types(shape, "Q4_K_M")["v.blk.3.attn_v.bias"] == "F32"


def test_a_tied_model_of_odd_rows_keeps_its_embedding_at_q8() -> None:
    assert types(SMOLLM2, "Q4_K_M")["token_embd.weight"] == "Q8_0"
