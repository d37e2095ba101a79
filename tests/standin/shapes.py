"""One small shape of each architecture that a stand-in can have."""

from dataclasses import replace

from orchestrator.model import Architecture

QWEN2 = Architecture(
    name="qwen2",
    block_count=4,
    embedding_length=512,
    feed_forward_length=1024,
    head_count=8,
    head_count_kv=2,
    key_length=64,
    value_length=64,
    vocab_size=2048,
    context_length=32_768,
    rope_dimension_count=64,
)
TIED = replace(QWEN2, tied_embeddings=True)
LLAMA = replace(QWEN2, name="llama", rope_factor_count=32)
# Heads that are not embedding / count.
QWEN3 = replace(QWEN2, name="qwen3", key_length=128, value_length=128, rope_dimension_count=128)
MIXTURE = replace(
    QWEN2, name="qwen3moe", expert_count=8, expert_used_count=2, expert_feed_forward_length=256
)
_LATENT = replace(
    QWEN2,
    name="deepseek2",
    head_count_kv=8,
    expert_count=16,
    expert_used_count=4,
    expert_feed_forward_length=256,
    expert_shared_feed_forward_length=256,
    expert_bias=True,
    leading_dense_block_count=1,
    kv_lora_rank=256,
    q_lora_rank=256,
)
UNSPLIT = replace(_LATENT, key_length=192, value_length=128)
# The latent is cached: one key head as wide as it, and the true heads beside.
SPLIT = replace(
    _LATENT,
    head_count_kv=1,
    mla_cache=True,
    key_length=320,
    value_length=256,
    key_length_mla=192,
    value_length_mla=128,
)
