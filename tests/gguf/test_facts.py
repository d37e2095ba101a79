"""From a header to the numbers that decide memory."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from orchestrator import memory
from orchestrator.errors import InvalidInput
from orchestrator.gguf import facts
from orchestrator.gguf.header import ArrayLength, read
from orchestrator.gguf.types import Tensor
from orchestrator.units import MIB
from tests.shapes import HALF_BILLION, run_of, shape_of

KEYS: dict[str, Any] = {
    "general.architecture": "qwen2",
    "general.file_type": 7,
    "qwen2.block_count": 24,
    "qwen2.embedding_length": 896,
    "qwen2.feed_forward_length": 4864,
    "qwen2.attention.head_count": 14,
    "qwen2.attention.head_count_kv": 2,
    "qwen2.context_length": 131072,
}
F32, Q8_0 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0
MATRICES = {
    "attn_q": (896, 896), "attn_k": (128, 896), "attn_v": (128, 896), "attn_output": (896, 896),
    "ffn_gate": (4864, 896), "ffn_up": (4864, 896), "ffn_down": (896, 4864),
}  # fmt: skip
VECTORS = {
    "attn_norm.weight": 896, "ffn_norm.weight": 896,
    "attn_q.bias": 896, "attn_k.bias": 128, "attn_v.bias": 128,
}  # fmt: skip


def half_a_billion(path: Path) -> Path:
    """Write the header and tensor table of a 0.5B at Q8_0; the weights are not needed."""
    writer = gguf.GGUFWriter(path, "qwen2")
    for key, value in KEYS.items():
        if key != "general.architecture":
            writer.add_uint32(key, value)

    def matrix(name: str, rows: int, columns: int) -> None:
        size = rows * columns // 32 * 34
        writer.add_tensor_info(
            name, (rows, columns // 32 * 34), np.dtype(np.uint8), size, raw_dtype=Q8_0
        )

    def vector(name: str, length: int) -> None:
        writer.add_tensor_info(name, (length,), np.dtype(np.float32), 4 * length, raw_dtype=F32)

    for name in ("token_embd.weight", "output.weight"):
        matrix(name, 152064, 896)
    vector("output_norm.weight", 896)
    for block in range(24):
        for name, (rows, columns) in MATRICES.items():
            matrix(f"blk.{block}.{name}.weight", rows, columns)
        for name, length in VECTORS.items():
            vector(f"blk.{block}.{name}", length)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name=name, type="F32", shape=shape)


TABLE = [tensor("token_embd.weight", 896, 152064), tensor("output.weight", 896, 152064)]


def test_a_file_s_numbers_are_those_of_the_measured_runs(tmp_path: Path) -> None:
    with half_a_billion(tmp_path / "q05.gguf").open("rb") as stream:
        found = read(stream)
    shape = facts.architecture(found.metadata, found.tensors)
    weights = facts.weights(found.tensors, shape.block_count)
    assert shape == HALF_BILLION
    assert facts.quantization(found.metadata) == "Q8_0"
    assert weights.total_bytes / MIB == pytest.approx(639, abs=0.5)
    without_embedding = weights.total_bytes - weights.embedding_bytes
    assert without_embedding / MIB == pytest.approx(500.9, abs=0.05)
    parts = sum(weights.per_layer_bytes) + weights.embedding_bytes + weights.output_bytes
    assert (parts, len(weights.per_layer_bytes)) == (weights.total_bytes, 24)
    # Measured after a prompt of 150 tokens at 32768 x 1: 1146 MiB.
    resident = memory.resident_bytes(shape, run_of("0.9.3", 32768), weights, 150)
    assert resident / MIB == pytest.approx(1146, rel=0.03)


@pytest.mark.parametrize(
    "missing",
    [
        "general.architecture", "qwen2.block_count", "qwen2.embedding_length",
        "qwen2.attention.head_count", "qwen2.context_length",
    ],
)  # fmt: skip
def test_a_missing_key_is_named(missing: str) -> None:
    keys = {k: v for k, v in KEYS.items() if k != missing}
    with pytest.raises(InvalidInput, match=missing.removeprefix("qwen2.")):
        facts.architecture(keys, TABLE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("attention.head_count", 0, id="no-heads"),
        pytest.param("embedding_length", 0, id="no-width"),
        pytest.param("block_count", 0, id="no-layers"),
        pytest.param("block_count", 2**31, id="too-many-layers"),
        pytest.param("block_count", -1, id="negative"),
        pytest.param("context_length", 2**63, id="huge"),
        pytest.param("context_length", 1.5, id="fraction"),
        pytest.param("context_length", float("inf"), id="infinite"),
        pytest.param("context_length", "many", id="text"),
        pytest.param("attention.head_count", ArrayLength(length=5000), id="skipped-array"),
        pytest.param("attention.head_count", [], id="empty-array"),
    ],
)
def test_a_number_that_makes_no_sense_is_named(key: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=key):
        facts.architecture(KEYS | {f"qwen2.{key}": value}, TABLE)


def test_defaults_of_what_a_header_may_leave_out() -> None:
    keys = {k: v for k, v in KEYS.items() if "head_count_kv" not in k}
    shape = facts.architecture(keys, TABLE[:1])
    assert (shape.head_count_kv, shape.key_length, shape.value_length) == (14, 64, 64)
    assert shape.tied_embeddings
    assert facts.architecture(keys, []).vocab_size == 0
    assert facts.architecture(keys, [tensor("token_embd.weight", 5)]).vocab_size == 0


def test_of_layers_with_unlike_heads_the_largest_decides() -> None:
    shape = facts.architecture(KEYS | {"qwen2.attention.head_count_kv": [2, 8, 4]}, TABLE)
    assert shape.head_count_kv == 8


def test_a_hybrid_s_state_is_that_of_the_catalogue() -> None:
    prefix = "qwen3next."
    numbers = {
        "block_count": 48, "embedding_length": 2048, "attention.head_count": 16,
        "attention.head_count_kv": 2, "attention.key_length": 256, "attention.value_length": 256,
        "context_length": 262144, "full_attention_interval": 4, "ssm.conv_kernel": 4,
        "ssm.inner_size": 4096, "ssm.group_count": 16, "ssm.state_size": 128,
    }  # fmt: skip
    keys = {"general.architecture": "qwen3next"} | {prefix + k: v for k, v in numbers.items()}
    shape = facts.architecture(keys, TABLE)
    like = shape_of("qwen3-next:80b")
    assert shape.attention_layers == like.attention_layers == 12
    assert shape.recurrent_state_bytes == like.recurrent_state_bytes


def test_a_latent_file_is_told_by_its_tensors() -> None:
    keys = KEYS | {"qwen2.attention.kv_lora_rank": 512, "qwen2.rope.dimension_count": 64}
    assert not facts.architecture(keys, TABLE).mla_cache
    split_file = [*TABLE, tensor("blk.0.attn_k_b.weight", 8)]
    assert facts.architecture(keys, split_file).mla_cache


def test_tensors_go_to_their_layer_the_embedding_or_the_output() -> None:
    table = [
        tensor("token_embd.weight", 10), tensor("output.weight", 20),
        tensor("output_norm.weight", 1), tensor("blk.0.a", 3),
        tensor("blk.1.a", 4), tensor("blk.1.b", 5),
        tensor("rope_freqs", 2),
        tensor("blk.7.a", 6), tensor("v.blk.0.a", 7), tensor("mm.a", 8),
    ]  # fmt: skip
    found = facts.weights(table, 2)
    assert found.per_layer_bytes == (12, 36)
    assert (found.embedding_bytes, found.output_bytes) == (40, 4 * (20 + 1 + 2))
    assert (found.draft_bytes, found.vision_bytes) == (4 * 6, 4 * 15)
    assert found.total_bytes == 4 * 66
    assert facts.parameters(table) == 66


@pytest.mark.parametrize(("value", "name"), [(15, "Q4_K_M"), (999, "unknown"), ([1], "unknown")])
def test_the_file_type_has_a_name_or_is_unknown(value: object, name: str) -> None:
    assert facts.quantization({"general.file_type": value}) == name
    assert facts.quantization({}) == "unknown"
