"""The keys of a stand-in's header: what an engine must know to load it, by architecture."""

from typing import Any

from orchestrator.errors import InvalidInput
from orchestrator.gguf.types import FILE_TYPES
from orchestrator.model import Architecture
from orchestrator.standin.vocabulary import Vocabulary

ARCHITECTURES = ("qwen2", "llama", "qwen3", "qwen3moe", "deepseek2")
_FILE_TYPES = {name: number for number, name in FILE_TYPES.items()}


def refuse(shape: Architecture) -> None:
    """Raise InvalidInput, by name, if no stand-in of this architecture can be written."""
    name = shape.name
    if shape.fused_attention:
        name = f"{name} with fused attention"
    elif shape.draft_block_count:
        name = f"{name} with draft layers"
    elif name in ARCHITECTURES:
        return
    known = ", ".join(ARCHITECTURES)
    raise InvalidInput(
        f"no stand-in can be written of architecture {name}",
        hint=f"without --rehearse it is proven after its download; known: {known}",
    )


def describe(writer: Any, shape: Architecture, quantization: str) -> None:  # noqa: ANN401 - untyped
    """Write the shape into a GGUFWriter, in llama.cpp's keys."""
    writer.add_name("stand-in")
    writer.add_quantization_version(2)
    writer.add_file_type(_FILE_TYPES[quantization])
    writer.add_block_count(shape.block_count)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.embedding_length)
    writer.add_feed_forward_length(shape.feed_forward_length)
    writer.add_head_count(shape.head_count)
    writer.add_head_count_kv(shape.head_count_kv)
    writer.add_key_length(shape.key_length)
    writer.add_value_length(shape.value_length)
    writer.add_rope_dimension_count(shape.rope_dimension_count or shape.key_length)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(shape.vocab_size)
    if shape.expert_count:
        _describe_experts(writer, shape)
    if shape.kv_lora_rank:
        _describe_latent(writer, shape)


def _describe_experts(writer: Any, shape: Architecture) -> None:  # noqa: ANN401 - untyped
    from gguf import ExpertGatingFuncType as Gate

    each, shared = shape.expert_feed_forward_length, shape.expert_shared_feed_forward_length
    writer.add_expert_count(shape.expert_count)
    writer.add_expert_used_count(shape.expert_used_count)
    writer.add_expert_feed_forward_length(each)
    if shape.name == "deepseek2":
        writer.add_leading_dense_block_count(shape.leading_dense_block_count)
        writer.add_expert_shared_count(shared // each)
        writer.add_expert_weights_scale(1.0)
        writer.add_expert_weights_norm(value=shape.expert_bias)
        writer.add_expert_gating_func(Gate.SIGMOID if shape.expert_bias else Gate.SOFTMAX)


def _describe_latent(writer: Any, shape: Architecture) -> None:  # noqa: ANN401 - untyped
    from gguf import RopeScalingType

    # Trained for 4096 tokens and stretched: the engine loads no file that does not say so.
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(40.0)
    writer.add_rope_scaling_orig_ctx_len(4096)
    writer.add_rope_scaling_yarn_log_mul(0.1)
    writer.add_kv_lora_rank(shape.kv_lora_rank)
    if shape.q_lora_rank:
        writer.add_q_lora_rank(shape.q_lora_rank)
    if shape.mla_cache:
        writer.add_key_length_mla(shape.key_length_mla)
        writer.add_value_length_mla(shape.value_length_mla)


def describe_tokenizer(writer: Any, words: Vocabulary) -> None:  # noqa: ANN401 - untyped
    """Write the vocabulary into a GGUFWriter."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(words.begin)
    writer.add_eos_token_id(words.end)
    writer.add_add_bos_token(value=False)
