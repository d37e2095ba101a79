"""A config.json of the hub gives the architecture that the catalogue has of the same model."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.era import ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.gguf.hub_config import architecture_of, imported_by, imports
from tests.shapes import shape_of


def config(name: str, layers: int, width: int, heads: int, kv: int, **more: Any) -> dict[str, Any]:
    return {
        "architectures": [name], "num_hidden_layers": layers, "hidden_size": width,
        "num_attention_heads": heads, "num_key_value_heads": kv, **more,
    }  # fmt: skip


QWEN25_7B = config(
    "Qwen2ForCausalLM", 28, 3584, 28, 4, intermediate_size=18944, vocab_size=152064,
    max_position_embeddings=32768, tie_word_embeddings=False,
)  # fmt: skip
QWEN3_30B = config(
    "Qwen3MoeForCausalLM", 48, 2048, 32, 4, head_dim=128, intermediate_size=6144,
    vocab_size=151936, max_position_embeddings=262144, decoder_sparse_step=1, mlp_only_layers=[],
    num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768,
)  # fmt: skip
LLAMA_8B = config(
    "LlamaForCausalLM", 32, 4096, 32, 8, intermediate_size=14336, vocab_size=128256,
    max_position_embeddings=131072, rope_scaling={"rope_type": "llama3", "factor": 8.0},
)  # fmt: skip
R1 = config(
    "DeepseekV3ForCausalLM", 61, 7168, 128, 128, intermediate_size=18432, vocab_size=129280,
    max_position_embeddings=163840, kv_lora_rank=512, q_lora_rank=1536, qk_nope_head_dim=128,
    qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=256, num_experts_per_tok=8,
    moe_intermediate_size=2048, n_shared_experts=1, first_k_dense_replace=3,
    topk_method="noaux_tc", num_nextn_predict_layers=1,
)  # fmt: skip
V2_LITE = config(
    "DeepseekV2ForCausalLM", 27, 2048, 16, 16, intermediate_size=10944, vocab_size=102400,
    max_position_embeddings=163840, kv_lora_rank=512, q_lora_rank=None, qk_nope_head_dim=128,
    qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=64, num_experts_per_tok=6,
    moe_intermediate_size=1408, n_shared_experts=2, first_k_dense_replace=1, topk_method="greedy",
)  # fmt: skip
HYBRID = {
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
    "partial_rotary_factor": 0.25,
}  # fmt: skip
QWEN3_NEXT = config(
    "Qwen3NextForCausalLM", 48, 2048, 16, 2, head_dim=256, intermediate_size=5120,
    vocab_size=151936, max_position_embeddings=262144, num_experts=512, num_experts_per_tok=10,
    moe_intermediate_size=512, shared_expert_intermediate_size=512, **HYBRID,
)  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "document"),
    [
        ("qwen2.5:7b", QWEN25_7B),
        ("qwen3:30b", QWEN3_30B),
        ("deepseek-r1:8b-llama-distill-q4_K_M", LLAMA_8B),
        ("deepseek-r1:671b", R1),
        ("deepseek-v2:16b", V2_LITE),
        ("qwen3-next:80b", QWEN3_NEXT),
    ],
)
def test_the_numbers_are_those_of_the_catalogue(tag: str, document: dict[str, Any]) -> None:
    assert architecture_of(document) == shape_of(tag)


def test_the_part_for_text_counts_in_a_model_that_sees() -> None:
    text = QWEN3_NEXT | {"tie_word_embeddings": True}
    rope = {"rope_parameters": {"partial_rotary_factor": text.pop("partial_rotary_factor")}}
    named = {"architectures": ["Qwen3_5MoeForConditionalGeneration"], "text_config": text | rope}
    like = replace(shape_of("qwen3-next:80b"), name="qwen35moe", tied_embeddings=True)
    assert architecture_of(named) == like


def test_what_the_files_hold_decides_about_the_output() -> None:
    assert architecture_of(QWEN25_7B, own_output=False).tied_embeddings
    assert not architecture_of(
        QWEN25_7B | {"tie_word_embeddings": True}, own_output=True
    ).tied_embeddings


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("Qwen2ForCausalLM", "0.9.3 and later"), ("LlamaForCausalLM", "0.9.3 and later"),
        ("DeepseekV3ForCausalLM", "later versions than 0.9.3"), ("Qwen3ForCausalLM", None),
        ("Qwen3MoeForCausalLM", None), ("MistralForCausalLM", None), ("Unheard", None),
    ],
)  # fmt: skip
def test_who_imports_a_class(name: str, by: str | None) -> None:
    assert imported_by(name) == by


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"architectures": ["MambaForCausalLM"]}, "Mamba.* is unknown", id="x"),
        pytest.param({"architectures": []}, "names no architecture", id="none"),
        pytest.param({"architectures": "Qwen2ForCausalLM"}, "names no architecture", id="text"),
        pytest.param({"hidden_size": None}, "has no hidden_size", id="null"),
        pytest.param({"hidden_size": "many"}, "hidden_size = many", id="words"),
        pytest.param({"hidden_size": True}, "hidden_size = True", id="bool"),
        pytest.param({"vocab_size": -1}, "vocab_size = -1", id="negative"),
        pytest.param({"vocab_size": 10**30}, "vocab_size = 1000", id="huge"),
        pytest.param({"num_attention_heads": 0}, "num_attention_heads = 0", id="no-heads"),
        pytest.param({"num_hidden_layers": 10**6}, "num_hidden_layers = 1000000", id="layers"),
        pytest.param({"mlp_only_layers": [1]}, "with and without experts", id="mixed"),
    ],
)
def test_what_makes_no_sense_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        architecture_of(QWEN3_30B | change)


@given(st.sampled_from([QWEN3_30B, R1, QWEN3_NEXT, LLAMA_8B]), st.data())
def test_any_value_is_read_or_refused(document: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(document)))
    value = data.draw(st.none() | st.integers() | st.text() | st.floats() | st.lists(st.text()))
    with suppress(InvalidInput):
        architecture_of(document | {key: value})


@pytest.mark.parametrize(
    ("name", "by_version"),
    [
        ("Qwen2ForCausalLM", {"0.9.0": None, "0.9.3": True, "0.20.0": True, "0.33.0": True}),
        ("Qwen3NextForCausalLM", {"0.9.3": False, "0.20.0": None, "0.33.0": True}),
        ("Qwen3ForCausalLM", {"0.9.3": False, "0.20.0": False, "0.33.0": False}),
        ("OtherForCausalLM", {"0.33.0": False}),
    ],
)
def test_what_a_version_imports_is_said_only_where_its_list_is_known(
    name: str, by_version: dict[str, bool | None]
) -> None:
    assert {v: imports(name, ServerVersion.parse(v)) for v in by_version} == by_version
