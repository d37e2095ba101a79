"""From the keys and tensors of a file, or of the server's /api/show, to shapes and bytes."""

import re
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from orchestrator.errors import InvalidInput
from orchestrator.gguf.header import Header
from orchestrator.gguf.tensors import EXPERTS
from orchestrator.gguf.types import FILE_TYPES, Tensor
from orchestrator.model import Architecture, Candidate, Weights

_BLOCK = re.compile(r"blk\.(\d+)\.")
_MOST = 2**32 - 1
_MOST_BLOCKS = 4096
_ATTENTION_INTERVAL = 4
_OPTIONAL = {
    "q_lora_rank": "attention.q_lora_rank",
    "key_length_mla": "attention.key_length_mla",
    "value_length_mla": "attention.value_length_mla",
    "leading_dense_block_count": "leading_dense_block_count",
    "ssm_conv_kernel": "ssm.conv_kernel",
    "ssm_inner_size": "ssm.inner_size",
    "ssm_state_size": "ssm.state_size",
    "ssm_group_count": "ssm.group_count",
    "ssm_time_step_rank": "ssm.time_step_rank",
    "vision_block_count": "vision.block_count",
    "vision_embedding_length": "vision.embedding_length",
    "vision_patch_size": "vision.patch_size",
}
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
    drafts = number("nextn_predict_layers", 0)
    if not drafts < blocks <= _MOST_BLOCKS:
        raise InvalidInput(f"the header of this {name} model says block_count = {blocks}")
    blocks -= drafts
    attending = blocks // interval if interval else _attending(metadata, name, blocks)
    return Architecture(
        name=name,
        block_count=blocks,
        embedding_length=embedding,
        feed_forward_length=number("feed_forward_length", 0),
        head_count=heads,
        head_count_kv=number("attention.head_count_kv", heads, least=1),
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
        else (blocks - attending) * state_bytes(*(number(f"ssm.{k}", 0) for k in _STATE_KEYS)),
        kv_lora_rank=number("attention.kv_lora_rank", 0),
        rope_dimension_count=number("rope.dimension_count", 0),
        mla_cache="blk.0.attn_k_b.weight" in by_name,
        draft_block_count=drafts or int(any(t.startswith("mtp.") for t in by_name)),
        **_told_by_tensors(by_name) | {field: number(key, 0) for field, key in _OPTIONAL.items()},
    )


def _attending(metadata: Mapping[str, Any], name: str, blocks: int) -> int | None:
    """Return the layers of a hybrid that attend, where no interval is told; None: no hybrid.

    Heads of 0 mark those that do not; without such a list every fourth attends, as in llama.cpp.
    """
    if not metadata.get(f"{name}.ssm.inner_size"):
        return None
    heads = metadata.get(f"{name}.attention.head_count_kv")
    if isinstance(heads, list) and 0 in heads:
        return sum(bool(n) for n in heads[:blocks])
    return blocks // _ATTENTION_INTERVAL


def _told_by_tensors(by_name: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what no key says, or not in every file: the tensors do."""

    def length(name: str, axis: int) -> int:
        shape = by_name[name].shape if name in by_name else ()
        return shape[axis] if axis < len(shape) else 0

    tower = "v.blk.0.mlp."
    return {
        "expert_bias": any("exp_probs_b" in name for name in by_name),
        "expert_shared_feed_forward_length": max(
            (t.shape[-1] for n, t in by_name.items() if n.endswith("ffn_up_shexp.weight")),
            default=0,
        ),
        "rope_factor_count": length("rope_freqs.weight", 0),
        "fused_attention": "blk.0.attn_qkv.weight" in by_name
        and "blk.0.ssm_out.weight" not in by_name,
        "vision_feed_forward_length": length(f"{tower}up_proj.weight", 1)
        or length(f"{tower}linear_fc1.weight", 1),
        "vision_position_count": length("v.pos_embed.weight", 1),
        "vision_deepstack_count": sum(
            name.startswith("v.deepstack_merger.") and name.endswith(".norm.weight")
            for name in by_name
        ),
    }


def state_bytes(kernel: int, inner: int, groups: int, state: int) -> int:
    """Return the f32 state of one recurrent layer: its convolution and its memory (llama.cpp)."""
    return 4 * (max(0, kernel - 1) * (inner + 2 * groups * state) + state * inner)


def weights(tensors: Iterable[Tensor], block_count: int) -> Weights:
    """Return the bytes of every part of a tensor table: layers, embedding, output, and the rest."""
    layers, experts, largest = [0] * block_count, [0] * block_count, 0
    parts = dict.fromkeys(("embedding", "output", "draft", "vision"), 0)
    for tensor in tensors:
        block = _BLOCK.match(tensor.name)
        if block and int(block[1]) < block_count:
            layers[int(block[1])] += tensor.size_bytes
            if tensor.name.endswith(EXPERTS):
                experts[int(block[1])] += tensor.size_bytes
                largest = max(largest, tensor.size_bytes)
        else:
            parts[_part(tensor.name)] += tensor.size_bytes
    return Weights(
        total_bytes=sum(layers) + sum(parts.values()),
        embedding_bytes=parts["embedding"],
        output_bytes=parts["output"],
        per_layer_bytes=tuple(layers),
        basis="header",
        expert_layer_bytes=tuple(experts) if largest else (),
        largest_expert_bytes=largest,
        draft_bytes=parts["draft"],
        vision_bytes=parts["vision"],
    )


def _part(name: str) -> str:
    """Return what a tensor outside the layers belongs to; what is not known goes with the output.

    Layers beyond the last predict further tokens, `mtp.` those that Ollama wrote; `v.` and `mm.`
    read pictures.
    """
    if name.startswith(("blk.", "mtp.")):
        return "draft"
    if name.startswith(("v.", "mm.")):
        return "vision"
    return "embedding" if name.startswith("token_embd") else "output"


def quantization(metadata: Mapping[str, Any]) -> str:
    """Return the name of the file type ("Q4_K_M"), or "unknown"."""
    number = metadata.get("general.file_type")
    return FILE_TYPES.get(number, "unknown") if isinstance(number, int) else "unknown"


def parameters(tensors: Iterable[Tensor]) -> int:
    """Return the number of elements of all tensors."""
    return sum(prod(t.shape) for t in tensors)


def active_parameters(shape: Architecture, tensors: Iterable[Tensor]) -> int:
    """Return the elements that one token passes: of the experts only those that are chosen."""
    table = tuple(tensors)
    total = parameters(table)
    if not 0 < shape.expert_used_count < shape.expert_count:
        return total
    experts = sum(prod(t.shape) for t in table if "_exps." in t.name)
    return total - experts + experts * shape.expert_used_count // shape.expert_count


def candidate_of(name: str, header: Header, file_bytes: int) -> Candidate:
    """Return the model in a file as a candidate of its own name.

    Raises InvalidInput: no language model, or a tensor of a type that ggml does not have.
    """
    shape = architecture(header.metadata, header.tensors)
    return Candidate(
        tags=(name,),
        model=name,
        family=name.rpartition("/")[2].partition(":")[0],
        kind="chat",
        architecture=shape,
        quantization=quantization(header.metadata),
        format="gguf",
        parameters_total=parameters(header.tensors),
        parameters_active=active_parameters(shape, header.tensors),
        file_bytes=file_bytes,
        bytes_basis="header",
        weights=weights(header.tensors, shape.block_count),
    )
