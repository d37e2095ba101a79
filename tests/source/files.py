"""Model files of any size by their headers alone: the data behind them is a hole in the file."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.gguf.layout import layout
from orchestrator.gguf.types import Tensor
from orchestrator.model import Architecture
from tests.shapes import TINY

_IDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}
_FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15}


def gguf_header(metadata: Mapping[str, Any], tensors: Sequence[Tensor]) -> tuple[bytes, int]:
    """Return the header of a GGUF file, padded, and how long the file is with its data."""
    table, offset = b"", 0
    for tensor in tensors:
        table += _text(tensor.name) + struct.pack("<I", len(tensor.shape))
        table += struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, _IDS[tensor.type], offset)
        offset += -(-tensor.size_bytes // 32) * 32
    keys = b"".join(_text(key) + _value(value) for key, value in metadata.items())
    data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + keys + table
    data += b"\x00" * (-len(data) % 32)
    return data, len(data) + offset


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    return struct.pack("<II", 4, value)


def keys_of(shape: Architecture, quantization: str, tokens: int = 0) -> dict[str, Any]:
    """Return the keys of a file of that shape, with a vocabulary of so many tokens."""
    numbers = {
        "block_count": shape.block_count,
        "embedding_length": shape.embedding_length,
        "feed_forward_length": shape.feed_forward_length,
        "attention.head_count": shape.head_count,
        "attention.head_count_kv": shape.head_count_kv,
        "attention.key_length": shape.key_length,
        "attention.value_length": shape.value_length,
        "context_length": shape.context_length,
        "expert_count": shape.expert_count,
        "expert_used_count": shape.expert_used_count,
        "expert_feed_forward_length": shape.expert_feed_forward_length,
        "attention.kv_lora_rank": shape.kv_lora_rank,
        "rope.dimension_count": shape.rope_dimension_count,
    }
    own = {f"{shape.name}.{key}": value for key, value in numbers.items() if value}
    general = {"general.architecture": shape.name, "general.file_type": _FILE_TYPES[quantization]}
    named = {"tokenizer.ggml.tokens": [f"token number {n:012}" for n in range(tokens)]}
    return general | own | (named if tokens else {})


def write_gguf(
    path: Path, shape: Architecture = TINY, quantization: str = "Q4_K_M", *, tokens: int = 0
) -> Path:
    """Write a file of that shape as long as the true one; it takes the header's room on disk."""
    tensors = layout(shape, quantization)
    return _sparse(path, *gguf_header(keys_of(shape, quantization, tokens), tensors))


def write_parts(folder: Path, stem: str, count: int, shape: Architecture = TINY) -> list[Path]:
    """Write a file in parts as llama-gguf-split does: keys in the first, tensors in all."""
    tensors, paths = layout(shape, "Q4_K_M"), []
    each = -(-len(tensors) // count)
    for n in range(count):
        split = {"split.no": n, "split.count": count, "split.tensors.count": len(tensors)}
        keys = split if n else keys_of(shape, "Q4_K_M", 100) | split
        path = folder / f"{stem}-{n + 1:05}-of-{count:05}.gguf"
        paths.append(_sparse(path, *gguf_header(keys, tensors[n * each : (n + 1) * each])))
    return paths


def _sparse(path: Path, header: bytes, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(size)
    return path


QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"], "hidden_size": 256, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 512,
    "vocab_size": 512, "max_position_embeddings": 4096, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}  # fmt: skip


def write_safetensors(path: Path, shapes: Mapping[str, Sequence[int]], kind: str = "BF16") -> Path:
    """Write a safetensors file of two-byte elements whose data is a hole."""
    entries, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for n in shape:
            size *= n
        entries[name] = {
            "dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + size]
        }  # fmt: skip
        offset += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    header = struct.pack("<Q", len(text)) + text
    return _sparse(path, header, len(header) + offset)


def tensors_of(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a Qwen2 model as the hub's files have them."""
    e, f, kv = config["hidden_size"], config["intermediate_size"], 128
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], e),
        "model.norm.weight": (e,),
    }
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (config["vocab_size"], e)
    for n in range(config["num_hidden_layers"]):
        each = {
            "input_layernorm.weight": (e,), "post_attention_layernorm.weight": (e,),
            "self_attn.q_proj.weight": (e, e), "self_attn.q_proj.bias": (e,),
            "self_attn.k_proj.weight": (kv, e), "self_attn.k_proj.bias": (kv,),
            "self_attn.v_proj.weight": (kv, e), "self_attn.v_proj.bias": (kv,),
            "self_attn.o_proj.weight": (e, e), "mlp.gate_proj.weight": (f, e),
            "mlp.up_proj.weight": (f, e), "mlp.down_proj.weight": (e, f),
        }  # fmt: skip
        found |= {f"model.layers.{n}.{name}": shape for name, shape in each.items()}
    return found


def write_repository(folder: Path, config: Mapping[str, Any] = QWEN2, *, shards: int = 1) -> Path:
    """Write a repository of safetensors; in several files it has an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    tensors = list(tensors_of(config).items())
    if shards == 1:
        write_safetensors(folder / "model.safetensors", dict(tensors))
        return folder
    each = -(-len(tensors) // shards)
    places: dict[str, str] = {}
    for n in range(shards):
        name = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        own = dict(tensors[n * each : (n + 1) * each])
        write_safetensors(folder / name, own)
        places |= dict.fromkeys(own, name)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
