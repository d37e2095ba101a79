"""Hollow models: the true tensor table of a shape over a file of holes. They load, and are silent.

What an engine allocates depends on names, shapes and types alone, so gigabytes take no room here.
"""

from pathlib import Path

import gguf
import numpy as np

from orchestrator.gguf.layout import layout
from orchestrator.gguf.types import Tensor
from orchestrator.model import Architecture

_FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15}
_ALIGNMENT = 32
_PLAIN = {"F32": np.float32, "F16": np.float16}


def write(path: Path, shape: Architecture, quantization: str) -> Path:
    """Write the header and the table, then a hole as large as the weights."""
    writer = gguf.GGUFWriter(path, shape.name)
    _describe(writer, shape, quantization)
    size = 0
    for tensor in layout(shape, quantization):
        _declare(writer, tensor)
        size += -(-tensor.size_bytes // _ALIGNMENT) * _ALIGNMENT
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    end = -(-path.stat().st_size // _ALIGNMENT) * _ALIGNMENT
    with path.open("r+b") as file:
        file.truncate(end + size)
    return path


def _declare(writer: gguf.GGUFWriter, tensor: Tensor) -> None:
    kind = gguf.GGMLQuantizationType[tensor.type]
    shape = tuple(reversed(tensor.shape))
    plain = _PLAIN.get(tensor.type)
    if plain is None:  # the writer takes quantized rows in bytes
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        shape = (*shape[:-1], shape[-1] // elements * size)
    dtype = np.dtype(np.uint8 if plain is None else plain)
    writer.add_tensor_info(tensor.name, shape, dtype, tensor.size_bytes, raw_dtype=kind)


def _describe(writer: gguf.GGUFWriter, shape: Architecture, quantization: str) -> None:
    writer.add_file_type(_FILE_TYPES[quantization])
    writer.add_quantization_version(2)
    writer.add_block_count(shape.block_count)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.embedding_length)
    writer.add_feed_forward_length(shape.feed_forward_length)
    writer.add_head_count(shape.head_count)
    writer.add_head_count_kv(shape.head_count_kv)
    writer.add_key_length(shape.key_length)
    writer.add_value_length(shape.value_length)
    writer.add_rope_dimension_count(shape.key_length)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(shape.vocab_size)
    if shape.expert_count:
        writer.add_expert_count(shape.expert_count)
        writer.add_expert_used_count(shape.expert_used_count)
        writer.add_expert_feed_forward_length(shape.expert_feed_forward_length)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*(f"t{i}" for i in range(shape.vocab_size - 1)), "Ċ"])
    writer.add_token_types([gguf.TokenType.NORMAL] * shape.vocab_size)
    writer.add_token_merges(["t0 t1"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
