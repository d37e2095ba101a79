"""From the keys and tensors of a file, or of the server's /api/show, to shapes and bytes."""

import re
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from orchestrator.errors import InvalidInput
from orchestrator.gguf.types import FILE_TYPES, Tensor
from orchestrator.model import Architecture, Weights

_BLOCK = re.compile(r"blk\.(\d+)\.")


def architecture(metadata: Mapping[str, Any], tensors: Iterable[Tensor]) -> Architecture:
    """Return the architecture that a header describes.

    Raises InvalidInput: a key that every language model has is missing.
    """
    name = metadata.get("general.architecture")
    if not isinstance(name, str):
        raise InvalidInput("the header names no general.architecture")

    def number(key: str, default: int | None = None) -> int:
        value = metadata.get(f"{name}.{key}", default)
        if isinstance(value, list) and value:  # per-layer head counts: the largest decides
            value = max(value)
        if not isinstance(value, int | float):
            raise InvalidInput(f"the header of this {name} model has no {key}")
        return int(value)

    by_name = {t.name: t for t in tensors}
    heads, embedding = number("attention.head_count"), number("embedding_length")
    blocks, interval = number("block_count"), number("full_attention_interval", 0)
    return Architecture(
        name=name,
        block_count=blocks,
        embedding_length=embedding,
        feed_forward_length=number("feed_forward_length", 0),
        head_count=heads,
        head_count_kv=number("attention.head_count_kv", heads),
        key_length=number("attention.key_length", embedding // heads),
        value_length=number("attention.value_length", embedding // heads),
        vocab_size=by_name["token_embd.weight"].shape[1] if "token_embd.weight" in by_name else 0,
        context_length=number("context_length"),
        tied_embeddings="output.weight" not in by_name,
        expert_count=number("expert_count", 0),
        expert_used_count=number("expert_used_count", 0),
        expert_feed_forward_length=number("expert_feed_forward_length", 0),
        attention_block_count=blocks // interval if interval else None,
        kv_lora_rank=number("attention.kv_lora_rank", 0),
        rope_dimension_count=number("rope.dimension_count", 0),
        mla_cache="blk.0.attn_k_b.weight" in by_name,
    )


def weights(tensors: Iterable[Tensor], block_count: int) -> Weights:
    """Return the bytes of every layer, the embedding and the output of a tensor table."""
    layers = [0] * block_count
    embedding = output = other = 0
    for tensor in tensors:
        block = _BLOCK.match(tensor.name)
        if block and int(block[1]) < block_count:
            layers[int(block[1])] += tensor.size_bytes
        elif tensor.name.startswith("token_embd"):
            embedding += tensor.size_bytes
        elif tensor.name.startswith("output"):
            output += tensor.size_bytes
        else:
            other += tensor.size_bytes
    return Weights(
        total_bytes=sum(layers) + embedding + output + other,
        embedding_bytes=embedding,
        output_bytes=output + other,
        per_layer_bytes=tuple(layers),
        basis="header",
    )


def quantization(metadata: Mapping[str, Any]) -> str:
    """Return the name of the file type ("Q4_K_M"), or "unknown"."""
    return FILE_TYPES.get(metadata.get("general.file_type", -1), "unknown")


def parameters(tensors: Iterable[Tensor]) -> int:
    """Return the number of elements of all tensors."""
    return sum(prod(t.shape) for t in tensors)
