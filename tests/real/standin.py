"""Stand-ins: GGUF files with the names, shapes and types of a published model, without its wisdom.

Memory, load time and speed are those of the real model. The text comes from a chain built into
the first and the last matrix: the output row of a token is the embedding of the one before it.
So a word is followed by another word for ever, and a question asked through the family's template
gets a short thought, a short answer and an end. All other weights are noise, too weak to disturb.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np

from orchestrator.model import Architecture

from .blocks import Bytes, Floats, encode, mute, noise, row_bytes
from .tokenizer import R1_ASSISTANT, R1_EOS, Tokenizer, whole

FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15}
_KIND = {"F16": "F16", "Q4_0": "Q4_0", "Q8_0": "Q8_0", "Q4_K_M": "Q4_K"}
# Against weights of this size (times 1/sqrt(columns)) a layer adds a few hundredths to the stream.
_EMBEDDING_DEVIATION = 3.0
_WEIGHT_DEVIATION = 0.4
# The logit of the next token of the chain; noise reaches 24 / sqrt(columns), 1.5 at 256 columns.
_CHAIN_LOGIT = 24.0
_THOUGHT = 7


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the tensor table; `rows` is 0 for a vector."""

    name: str
    kind: str
    rows: int
    columns: int

    @property
    def size_bytes(self) -> int:
        """The bytes in the file."""
        return row_bytes(self.kind, self.columns) * (self.rows or 1)


def tensors(shape: Architecture, quantization: str) -> list[Tensor]:
    """Return the tensor table that llama.cpp gives a qwen2, qwen3 or llama file."""
    if shape.name not in {"qwen2", "qwen3", "llama"}:
        raise ValueError(f"no stand-in for the architecture {shape.name!r}")
    kind = _KIND[quantization]
    last = "Q6_K" if quantization in {"Q4_0", "Q4_K_M"} else kind
    rows, columns = shape.vocab_size, shape.embedding_length
    first = last if shape.tied_embeddings else kind
    table = [Tensor("token_embd.weight", first, rows, columns)]
    for n in range(shape.block_count):
        table += _block(shape, quantization, n)
    table.append(Tensor("output_norm.weight", "F32", 0, columns))
    if not shape.tied_embeddings:
        table.append(Tensor("output.weight", last, rows, columns))
    return table


def write(path: Path, shape: Architecture, quantization: str, tokenizer: Tokenizer) -> Path:
    """Write a stand-in; it appears under its name only when it is complete."""
    return whole(path, partial(_write, shape, quantization, tokenizer.cut(shape.vocab_size)))


def chain(tokenizer: Tokenizer) -> dict[int, int]:
    """Return the next token of each token that has one: words in a ring, and the way of a chat."""
    ring = list(np.random.default_rng(7).permutation(tokenizer.words()))
    following = {int(a): int(b) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)}
    spoken = tokenizer.spoken()
    start = R1_ASSISTANT if tokenizer.tokens[tokenizer.eos] == R1_EOS else "Ċ"
    thought = [tokenizer.id("<think>"), *spoken[:_THOUGHT], tokenizer.id("</think>")]
    answer = [tokenizer.id("ĊĊ"), *spoken[_THOUGHT:], tokenizer.eos]
    path = [tokenizer.id(start), *thought, *answer]
    return following | dict(pairwise(path))


def _block(shape: Architecture, quantization: str, n: int) -> Iterator[Tensor]:
    kind = _KIND[quantization]
    finer = "Q6_K" if quantization == "Q4_K_M" and _more_bits(n, shape.block_count) else kind
    width, inner = shape.embedding_length, shape.feed_forward_length
    query, keys = shape.head_count * shape.key_length, shape.head_count_kv * shape.key_length
    values = shape.head_count_kv * shape.value_length
    heads = {"q": (kind, query), "k": (kind, keys), "v": (finer, values)}
    yield Tensor(f"blk.{n}.attn_norm.weight", "F32", 0, width)
    for letter, (its_kind, rows) in heads.items():
        yield Tensor(f"blk.{n}.attn_{letter}.weight", its_kind, rows, width)
        if shape.name == "qwen2":
            yield Tensor(f"blk.{n}.attn_{letter}.bias", "F32", 0, rows)
        if shape.name == "qwen3" and letter != "v":
            yield Tensor(f"blk.{n}.attn_{letter}_norm.weight", "F32", 0, shape.key_length)
    out = shape.head_count * shape.value_length
    yield Tensor(f"blk.{n}.attn_output.weight", kind, width, out)
    yield Tensor(f"blk.{n}.ffn_norm.weight", "F32", 0, width)
    yield Tensor(f"blk.{n}.ffn_gate.weight", kind, inner, width)
    yield Tensor(f"blk.{n}.ffn_up.weight", kind, inner, width)
    yield Tensor(f"blk.{n}.ffn_down.weight", finer, width, inner)


def _more_bits(n: int, layers: int) -> bool:
    """llama.cpp's use_more_bits: the first and the last eighth, and every third between."""
    eighth = layers // 8
    return n < eighth or n >= 7 * layers // 8 or (n - eighth) % 3 == 2


def _write(shape: Architecture, quantization: str, tokenizer: Tokenizer, path: Path) -> None:
    writer = gguf.GGUFWriter(path, shape.name)
    _describe(writer, shape, quantization)
    _describe_tokenizer(writer, tokenizer)
    table = tensors(shape, quantization)
    for tensor in table:
        kind = gguf.GGMLQuantizationType[tensor.kind]
        width = row_bytes(tensor.kind, tensor.columns)
        # The writer turns a shape of bytes into a shape of elements.
        size = (tensor.rows, width) if tensor.rows else (tensor.columns,)
        dtype = np.dtype(np.uint8 if tensor.rows else np.float32)
        if tensor.kind == "F16":
            size, dtype = (tensor.rows, tensor.columns), np.dtype(np.float16)
        writer.add_tensor_info(tensor.name, size, dtype, tensor.size_bytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in table:
        writer.write_tensor_data(_weights(tensor, shape, tokenizer))
    writer.close()


def _describe(writer: gguf.GGUFWriter, shape: Architecture, quantization: str) -> None:
    writer.add_name("stand-in")
    writer.add_file_type(FILE_TYPES[quantization])
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
    writer.add_rope_freq_base(1_000_000.0 if shape.name == "qwen3" else 10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    if shape.name == "llama":
        writer.add_vocab_size(shape.vocab_size)


def _describe_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(tokenizer.types)
    writer.add_token_merges(tokenizer.merges)
    writer.add_bos_token_id(tokenizer.bos)
    writer.add_eos_token_id(tokenizer.eos)
    writer.add_add_bos_token(tokenizer.add_bos)


def _weights(tensor: Tensor, shape: Architecture, tokenizer: Tokenizer) -> Bytes | Floats:
    """Return the content of one tensor: noise, but for the norms and the chain."""
    if tensor.name == "token_embd.weight":
        return _embedding(tensor, shape, tokenizer)
    if tensor.name == "output.weight":
        return _output(tensor, tokenizer)
    if tensor.name == "output_norm.weight" and shape.tied_embeddings:
        return _signs(tensor.columns)
    if not tensor.rows:
        value = 0.0 if tensor.name.endswith(".bias") else 1.0
        return np.full(tensor.columns, value, np.float32)
    return noise(tensor.kind, tensor.rows, tensor.columns, _deviation(shape))


def _deviation(shape: Architecture) -> float:
    return _WEIGHT_DEVIATION / float(np.sqrt(shape.embedding_length))


def _embedding(tensor: Tensor, shape: Architecture, tokenizer: Tokenizer) -> Bytes:
    matrix = noise(tensor.kind, tensor.rows, tensor.columns, _EMBEDDING_DEVIATION)
    if shape.tied_embeddings:
        mute(tensor.kind, matrix)
        return _paired(tensor, matrix, tokenizer)
    rows = sorted(chain(tokenizer))
    matrix[rows] = encode(tensor.kind, _places(rows, tensor.columns))
    return matrix


def _output(tensor: Tensor, tokenizer: Tokenizer) -> Bytes:
    """Silent but for the chain, so that no byte and no control token is ever the likeliest."""
    matrix = noise(tensor.kind, tensor.rows, tensor.columns, 1.0)
    mute(tensor.kind, matrix)
    following = chain(tokenizer)
    rows = sorted(following)
    scale = np.float32(_CHAIN_LOGIT / (_EMBEDDING_DEVIATION * tensor.columns))
    aims = _places(rows, tensor.columns) * scale
    matrix[[following[row] for row in rows]] = encode(tensor.kind, aims)
    return matrix


def _places(rows: list[int], columns: int) -> Floats:
    """Where the tokens of the chain lie: the same random vectors for both matrices."""
    rng = np.random.default_rng(11)
    return rng.standard_normal((len(rows), columns), np.float32) * np.float32(_EMBEDDING_DEVIATION)


def _paired(tensor: Tensor, matrix: Bytes, tokenizer: Tokenizer) -> Bytes:
    """Tied embeddings: two words each point at the other, through the signs of the last norm."""
    words = tokenizer.words()
    pairs = len(words) // 2
    places = _places(list(words[:pairs]), tensor.columns)
    matrix[list(words[:pairs])] = encode(tensor.kind, places)
    matrix[list(words[pairs : 2 * pairs])] = encode(tensor.kind, places * _signs(tensor.columns))
    return matrix


def _signs(columns: int) -> Floats:
    return np.where(np.random.default_rng(13).random(columns) < 0.5, -1.0, 1.0).astype(np.float32)
