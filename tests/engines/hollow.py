"""Hollow models: the true tensor table of a shape over a file of holes. They load, and are silent.

What an engine allocates depends on names, shapes and types alone, so gigabytes take no room here.
"""

from pathlib import Path

import gguf
import numpy as np

from orchestrator.gguf.layout import layout
from orchestrator.gguf.types import Tensor
from orchestrator.model import Architecture
from orchestrator.standin.metadata import describe, describe_tokenizer
from orchestrator.standin.vocabulary import vocabulary

_ALIGNMENT = 32
_PLAIN = {"F32": np.float32, "F16": np.float16}


def write(path: Path, shape: Architecture, quantization: str) -> Path:
    """Write the header and the table, then a hole as large as the weights."""
    writer = gguf.GGUFWriter(path, shape.name)
    describe(writer, shape, quantization)
    describe_tokenizer(writer, vocabulary(shape.vocab_size, ()))
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
