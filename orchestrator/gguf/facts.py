"""From the keys and tensors of a file, or of the server's /api/show, to shapes and bytes."""

import re
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from orchestrator.errors import InvalidInput
from orchestrator.gguf.header import Header
from orchestrator.gguf.types import FILE_TYPES, Tensor
from orchestrator.model import Architecture, Candidate, Weights

_BLOCK = re.compile(r"blk\.(\d+)\.")
_MOST = 2**32 - 1
_MOST_BLOCKS = 4096
_STATE_KEYS = ("conv_kernel", "inner_size", "group_count", "state_size")


def architecture(metadata: Mapping[str, Any], tensors: Iterable[Tensor]) -> Architecture:
    """Return the architecture that a header describes.

    Raises InvalidInput: a key that every language model has is missing or makes no sense.
    """
    name = metadata.get("general.architecture")
    if not isinstance(name, str):
        raise InvalidInput("the header names no general.architecture")

    def number(key: str, default: int | None = None, *, least: int = 0) -> int:
        value = metadata.get(f"{name}.{key}", default)
        if isinstance(value, list) and value:  # per-layer head counts: the largest decides
            value = max(value)
        if not isinstance(value, int):
            raise InvalidInput(f"the header of this {name} model has no {key}")
        if not least <= value <= _MOST:
            raise InvalidInput(f"the header of this {name} model says {key} = {value}")
        return value

    by_name = {t.name: t for t in tensors}
    vocabulary = by_name["token_embd.weight"].shape[1:] if "token_embd.weight" in by_name else ()
    heads, embedding = (number(k, least=1) for k in ("attention.head_count", "embedding_length"))
    blocks, interval = number("block_count", least=1), number("full_attention_interval", 0)
    if blocks > _MOST_BLOCKS:
        raise InvalidInput(f"the header of this {name} model says block_count = {blocks}")
    attending = blocks // interval if interval else None
    return Architecture(
        name=name,
        block_count=blocks,
        embedding_length=embedding,
        feed_forward_length=number("feed_forward_length", 0),
        head_count=heads,
        head_count_kv=number("attention.head_count_kv", heads),
        key_length=number("attention.key_length", embedding // heads),
        value_length=number("attention.value_length", embedding // heads),
        vocab_size=vocabulary[0] if vocabulary else 0,
        context_length=number("context_length", least=1),
        tied_embeddings="output.weight" not in by_name,
        expert_count=number("expert_count", 0),
        expert_used_count=number("expert_used_count", 0),
        expert_feed_forward_length=number("expert_feed_forward_length", 0),
        attention_block_count=attending,
        recurrent_state_bytes=0
        if attending is None
        else (blocks - attending) * _state_bytes(*(number(f"ssm.{k}", 0) for k in _STATE_KEYS)),
        kv_lora_rank=number("attention.kv_lora_rank", 0),
        rope_dimension_count=number("rope.dimension_count", 0),
        mla_cache="blk.0.attn_k_b.weight" in by_name,
    )


def _state_bytes(kernel: int, inner: int, groups: int, state: int) -> int:
    """Return the f32 state of one recurrent layer: its convolution and its memory (llama.cpp)."""
    return 4 * (max(0, kernel - 1) * (inner + 2 * groups * state) + state * inner)


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
    number = metadata.get("general.file_type")
    return FILE_TYPES.get(number, "unknown") if isinstance(number, int) else "unknown"


def parameters(tensors: Iterable[Tensor]) -> int:
    """Return the number of elements of all tensors."""
    return sum(prod(t.shape) for t in tensors)


def candidate_of(name: str, header: Header, file_bytes: int) -> Candidate:
    """Return the model in a file as a candidate of its own name."""
    shape = architecture(header.metadata, header.tensors)
    count = parameters(header.tensors)
    return Candidate(
        tags=(name,),
        model=name,
        family=name.partition(":")[0],
        kind="chat",
        architecture=shape,
        quantization=quantization(header.metadata),
        format="gguf",
        parameters_total=count,
        parameters_active=count,
        file_bytes=file_bytes,
        bytes_basis="header",
        weights=weights(header.tensors, shape.block_count),
    )
