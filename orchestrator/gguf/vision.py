"""The tensors of the tower that reads pictures, as Ollama's files keep them beside the text model.

Names and shapes: convert/convert_qwen25vl.go, convert_qwen3vl.go and convert_qwen3next.go.
"""

from collections.abc import Iterator

from orchestrator.gguf.tensors import Slot
from orchestrator.model import Architecture

_CHANNELS, _FRAMES = 3, 2  # a patch is red, green and blue, of two frames of a film
_MERGED = 4  # patches of 2 x 2 become one token


def vision_slots(shape: Architecture) -> tuple[Slot, ...]:
    """Return the tensors of the vision tower; none for a model that only reads."""
    if not shape.vision_block_count:
        return ()
    return tuple(_qwen25(shape) if shape.name == "qwen25vl" else _qwen3(shape))


def _linear(name: str, columns: int, rows: int) -> Iterator[Slot]:
    yield Slot(f"{name}.weight", (columns, rows))
    yield Slot(f"{name}.bias", (rows,))


def _norm(name: str, length: int) -> Iterator[Slot]:
    yield Slot(f"{name}.weight", (length,))
    yield Slot(f"{name}.bias", (length,))


def _qwen25(shape: Architecture) -> Iterator[Slot]:
    e, f, patch = shape.vision_embedding_length, shape.vision_feed_forward_length, _patch(shape)
    for frame in range(_FRAMES):
        yield Slot(f"v.patch_embd_{frame}.weight", (*patch, _CHANNELS, e))
    for i in range(shape.vision_block_count):
        at = f"v.blk.{i}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield from _linear(f"{at}.{name}", e, e)
        for name in ("ln1", "ln2"):
            yield Slot(f"{at}.{name}.weight", (e,))
        yield from _linear(f"{at}.mlp.gate_proj", e, f)
        yield from _linear(f"{at}.mlp.up_proj", e, f)
        yield from _linear(f"{at}.mlp.down_proj", f, e)
    yield Slot("v.merger.ln_q.weight", (e,))
    yield from _linear("v.merger.mlp.0", _MERGED * e, _MERGED * e)
    yield from _linear("v.merger.mlp.2", _MERGED * e, shape.embedding_length)


def _qwen3(shape: Architecture) -> Iterator[Slot]:
    e, f, wide = shape.vision_embedding_length, shape.vision_feed_forward_length, _MERGED
    yield Slot("v.patch_embed.weight", (*_patch(shape), _FRAMES, _CHANNELS * e))
    yield Slot("v.patch_embed.bias", (e,))
    yield Slot("v.pos_embed.weight", (e, shape.vision_position_count))
    # The hybrids of 2026 leave the three matrices of the tower's attention in one.
    split = not shape.ssm_inner_size
    for i in range(shape.vision_block_count):
        at = f"v.blk.{i}"
        yield from _norm(f"{at}.norm1", e)
        yield from _norm(f"{at}.norm2", e)
        for name in ("attn_q", "attn_k", "attn_v") if split else ("attn_qkv",):
            yield from _linear(f"{at}.{name}", e, e if split else 3 * e)
        yield from _linear(f"{at}.attn_out", e, e)
        yield from _linear(f"{at}.mlp.linear_fc1", e, f)
        yield from _linear(f"{at}.mlp.linear_fc2", f, e)
    mergers = [("v.merger", e)]
    mergers += [(f"v.deepstack_merger.{i}", wide * e) for i in range(shape.vision_deepstack_count)]
    for name, normed in mergers:
        yield from _norm(f"{name}.norm", normed)
        yield from _linear(f"{name}.linear_fc1", wide * e, wide * e)
        yield from _linear(f"{name}.linear_fc2", wide * e, shape.embedding_length)


def _patch(shape: Architecture) -> tuple[int, int]:
    return shape.vision_patch_size, shape.vision_patch_size
