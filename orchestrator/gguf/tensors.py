"""Which tensors an architecture has, by name and shape, whatever their types.

The names and shapes are those of llama.cpp (src/llama-arch.cpp, src/models) and, for what it does
not keep in the file of the text model, of Ollama's converters (convert/convert_qwen25vl.go,
convert_qwen3vl.go, convert_qwen3next.go). Shapes are in ggml's order: columns first.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from orchestrator.errors import InvalidInput
from orchestrator.model import Architecture


class Slot(NamedTuple):
    """A tensor's place in the file: its name, within its layer if it has one, and its shape."""

    name: str
    shape: tuple[int, ...]


class Block(NamedTuple):
    """What one layer consists of: blocks that are equal have the same tensors."""

    attention: str
    experts: bool


Slots = Iterator[Slot]
EXPERTS = "_exps.weight"
"""How the names of tensors end that hold the experts a router chooses among, all in one."""

_ATTENTION = {
    "llama": "plain", "qwen2": "biased", "qwen25vl": "biased", "qwen3": "normed",
    "qwen3moe": "normed", "qwen3vl": "normed", "qwen3vlmoe": "normed", "deepseek2": "latent",
    "qwen3next": "gated", "qwen35": "gated", "qwen35moe": "gated",
}  # fmt: skip


def blocks(shape: Architecture) -> tuple[Block, ...]:
    """Return what each layer consists of. Raises InvalidInput: an architecture not known here."""
    if shape.name not in _ATTENTION:
        known = ", ".join(sorted(_ATTENTION))
        raise InvalidInput(
            f"architecture {shape.name}: its tensors are not known", hint=f"known: {known}"
        )
    attention = "fused" if shape.fused_attention else _ATTENTION[shape.name]
    # Hybrids attend in full once in so many layers, the last of each group.
    every = shape.block_count // max(1, shape.attention_layers)
    return tuple(
        Block(
            attention="linear" if attention == "gated" and (i + 1) % every else attention,
            experts=shape.expert_count > 0 and i >= shape.leading_dense_block_count,
        )
        for i in range(shape.block_count)
    )


def draft_block(shape: Architecture) -> Block:
    """Return what a layer that predicts further tokens consists of, beside `draft_ends`."""
    return Block(attention=_ATTENTION[shape.name], experts=shape.expert_count > 0)


@lru_cache(maxsize=256)
def block_slots(shape: Architecture, block: Block) -> tuple[Slot, ...]:
    """Return the tensors of one layer, in llama.cpp's order."""
    gated = block.attention in ("gated", "linear")
    norm = "post_attention_norm" if gated else "ffn_norm"
    feed_forward = _experts if block.experts else _dense
    return (
        _vector("attn_norm", shape.embedding_length),
        *_ATTENTION_SLOTS[block.attention](shape),
        _vector(norm, shape.embedding_length),
        *feed_forward(shape),
    )


def end_slots(shape: Architecture) -> tuple[Slot, ...]:
    """Return the tensors that belong to no layer: embedding, output and what goes with them."""
    embedding, matrix = shape.embedding_length, (shape.embedding_length, shape.vocab_size)
    return (
        Slot("token_embd.weight", matrix),
        _vector("output_norm", embedding),
        *(() if shape.tied_embeddings else (Slot("output.weight", matrix),)),
        *((_vector("rope_freqs", shape.rope_factor_count),) if shape.rope_factor_count else ()),
    )


def draft_end_slots(shape: Architecture) -> tuple[Slot, ...]:
    """Return what joins a draft layer to the model: a projection and three norms."""
    e = shape.embedding_length
    return (
        _matrix("nextn.eh_proj", 2 * e, e),
        *(_vector(f"nextn.{norm}", e) for norm in ("enorm", "hnorm", "shared_head_norm")),
    )


def _matrix(name: str, columns: int, *rows: int) -> Slot:
    return Slot(f"{name}.weight", (columns, *rows))


def _vector(name: str, length: int) -> Slot:
    return Slot(f"{name}.weight", (length,))


def _plain(shape: Architecture) -> Slots:
    e, q = shape.embedding_length, shape.head_count * shape.key_length
    yield _matrix("attn_q", e, q)
    yield _matrix("attn_k", e, shape.head_count_kv * shape.key_length)
    yield _matrix("attn_v", e, shape.head_count_kv * shape.value_length)
    yield _matrix("attn_output", shape.head_count * shape.value_length, e)


def _biased(shape: Architecture) -> Slots:
    for slot in _plain(shape):
        yield slot
        if slot.name != "attn_output.weight":
            yield Slot(slot.name.replace("weight", "bias"), slot.shape[1:])


def _fused(shape: Architecture) -> Slots:
    """Attention of Qwen 1: one matrix for query, key and value."""
    e, heads = shape.embedding_length, shape.head_count + 2 * shape.head_count_kv
    yield _matrix("attn_qkv", e, heads * shape.key_length)
    yield Slot("attn_qkv.bias", (heads * shape.key_length,))
    yield _matrix("attn_output", shape.head_count * shape.value_length, e)


def _normed(shape: Architecture) -> Slots:
    yield from _plain(shape)
    yield _vector("attn_q_norm", shape.key_length)
    yield _vector("attn_k_norm", shape.key_length)


def _gated(shape: Architecture) -> Slots:
    """Full attention of a hybrid: the query's matrix holds a gate of the same size too."""
    query, *others = _normed(shape)
    yield _matrix("attn_q", query.shape[0], 2 * query.shape[1])
    yield from others


def _linear(shape: Architecture) -> Slots:
    """Linear attention (gated delta net): one state a value head instead of a cache."""
    e, heads, inner = shape.embedding_length, shape.ssm_time_step_rank, shape.ssm_inner_size
    mixed = 2 * shape.ssm_group_count * shape.ssm_state_size + inner
    yield _matrix("attn_qkv", e, mixed)
    yield _matrix("attn_gate", e, inner)
    if shape.name == "qwen3next":
        yield _matrix("ssm_ba", e, 2 * heads)
    else:
        yield _matrix("ssm_alpha", e, heads)
        yield _matrix("ssm_beta", e, heads)
    yield _matrix("ssm_conv1d", shape.ssm_conv_kernel, mixed)
    yield Slot("ssm_dt.bias", (heads,))
    yield Slot("ssm_a", (heads,))
    yield _vector("ssm_norm", inner // max(1, heads))
    yield _matrix("ssm_out", inner, e)


def _latent(shape: Architecture) -> Slots:
    """Multi-head latent attention: keys and values come out of one narrow vector a token."""
    e, heads, rank = shape.embedding_length, shape.head_count, shape.kv_lora_rank
    key = shape.key_length_mla or shape.key_length
    value = shape.value_length_mla or shape.value_length
    own = key - shape.rope_dimension_count  # the part of a key that does not turn with position
    if shape.q_lora_rank:
        yield _matrix("attn_q_a", e, shape.q_lora_rank)
        yield _vector("attn_q_a_norm", shape.q_lora_rank)
        yield _matrix("attn_q_b", shape.q_lora_rank, heads * key)
    else:
        yield _matrix("attn_q", e, heads * key)
    yield _matrix("attn_kv_a_mqa", e, rank + shape.rope_dimension_count)
    yield _vector("attn_kv_a_norm", rank)
    if shape.mla_cache:
        yield _matrix("attn_k_b", own, rank, heads)
        yield _matrix("attn_v_b", rank, value, heads)
    else:
        yield _matrix("attn_kv_b", rank, heads * (own + value))
    yield _matrix("attn_output", heads * value, e)


def _dense(shape: Architecture) -> Slots:
    e, f = shape.embedding_length, shape.feed_forward_length
    yield _matrix("ffn_gate", e, f)
    yield _matrix("ffn_up", e, f)
    yield _matrix("ffn_down", f, e)


def _experts(shape: Architecture) -> Slots:
    e, f, n = shape.embedding_length, shape.expert_feed_forward_length, shape.expert_count
    shared = shape.expert_shared_feed_forward_length
    yield _matrix("ffn_gate_inp", e, n)
    if shape.expert_bias:
        yield Slot("exp_probs_b.bias", (n,))
    yield _matrix("ffn_gate_exps", e, f, n)
    yield _matrix("ffn_up_exps", e, f, n)
    yield _matrix("ffn_down_exps", f, e, n)
    if not shared:
        return
    if shape.name != "deepseek2":
        yield _vector("ffn_gate_inp_shexp", e)
    yield _matrix("ffn_gate_shexp", e, shared)
    yield _matrix("ffn_up_shexp", e, shared)
    yield _matrix("ffn_down_shexp", shared, e)


_ATTENTION_SLOTS: dict[str, Callable[[Architecture], Slots]] = {
    "plain": _plain, "biased": _biased, "fused": _fused, "normed": _normed, "gated": _gated,
    "linear": _linear, "latent": _latent,
}  # fmt: skip
