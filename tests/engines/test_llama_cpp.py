"""What the newest engine reserves, against a current llama.cpp: the formulas of 0.30 and later."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import compute, memory
from orchestrator.gguf.layout import laid_out
from orchestrator.memory import KvType, Run
from orchestrator.model import Architecture
from orchestrator.units import MIB
from tests.engines.buffers import compared, logged_bytes
from tests.engines.hollow import write
from tests.shapes import run_of

_SCRIPT = Path(__file__).with_name("llama_cpp.py")
_TO_THE_DIGIT = 0.01 * MIB  # the log rounds each line

QWEN2 = Architecture(
    name="qwen2",
    block_count=3,
    embedding_length=1536,
    feed_forward_length=8960,
    head_count=12,
    head_count_kv=2,
    key_length=128,
    value_length=128,
    vocab_size=4096,
    context_length=131_072,
)
# Heads that are not embedding / count: 16 * 128 = 2048 beside an embedding of 1024.
QWEN3 = replace(
    QWEN2, name="qwen3", embedding_length=1024, feed_forward_length=3072, head_count=16,
    head_count_kv=8, tied_embeddings=True,
)  # fmt: skip
LLAMA = replace(
    QWEN2, name="llama", embedding_length=4096, feed_forward_length=14336, head_count=32,
    head_count_kv=8,
)  # fmt: skip
MIXTURE = replace(
    QWEN2, name="qwen3moe", embedding_length=2048, feed_forward_length=6144, head_count=32,
    head_count_kv=4, expert_count=16, expert_used_count=8, expert_feed_forward_length=768,
)  # fmt: skip
# Multi-head latent attention, the file split for it: what V3.1 is, in small.
LATENT = Architecture(
    name="deepseek2",
    block_count=3,
    embedding_length=2048,
    feed_forward_length=4096,
    head_count=16,
    head_count_kv=1,
    key_length=576,
    value_length=512,
    key_length_mla=192,
    value_length_mla=128,
    vocab_size=4096,
    context_length=163_840,
    expert_count=8,
    expert_used_count=4,
    expert_feed_forward_length=512,
    expert_shared_feed_forward_length=512,
    expert_bias=True,
    leading_dense_block_count=1,
    kv_lora_rank=512,
    q_lora_rank=768,
    rope_dimension_count=64,
    mla_cache=True,
)


def loaded(folder: Path, shape: Architecture, quantization: str, run: Run) -> dict[str, int]:
    """Load it, and return what the log says."""
    model = write(folder / "hollow.gguf", shape, quantization)
    flash = "ENABLED" if run.flash_attention else "DISABLED"
    found = subprocess.run(
        [sys.executable, _SCRIPT, model, str(run.context), str(run.parallel), flash,
         run.kv_cache_type],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    model.unlink()
    return logged_bytes(found.stdout + found.stderr)


@pytest.mark.parametrize(
    ("shape", "quantization", "context", "slots"),
    [
        pytest.param(QWEN2, "Q4_0", 2048, 1, id="qwen2-q4_0-2k"),
        pytest.param(QWEN2, "Q4_K_M", 32768, 1, id="qwen2-q4_k_m-32k"),
        pytest.param(QWEN2, "Q8_0", 4096, 4, id="qwen2-q8_0-four-slots"),
        pytest.param(QWEN3, "F16", 4096, 1, id="qwen3-f16"),
        pytest.param(QWEN3, "Q4_K_M", 16384, 4, id="qwen3-q4_k_m-four-slots"),
        pytest.param(LLAMA, "Q4_0", 8192, 1, id="llama-q4_0-8k"),
        pytest.param(MIXTURE, "Q4_0", 8192, 1, id="mixture-q4_0-8k"),
        pytest.param(LATENT, "Q8_0", 16384, 1, id="latent-q8_0-16k"),
    ],
)
@pytest.mark.parametrize("flash", [True, False], ids=["flash", "no-flash"])
def test_weights_and_cache_are_exact_and_the_total_within_3_percent(
    tmp_path: Path, shape: Architecture, quantization: str, context: int, slots: int, flash: bool
) -> None:
    run = run_of("0.33.0", context, parallel=slots, flash_attention=flash)
    weights = laid_out(shape, quantization).total_bytes
    cache = sum(memory.kv_by_layer(shape, run))
    graph = compute.device_bytes(shape, run, "cpu") + compute.output_bytes(shape, run)
    found = loaded(tmp_path, shape, quantization, run)
    assert found["model"] == pytest.approx(weights, abs=3 * _TO_THE_DIGIT)
    assert found["KV"] == pytest.approx(cache, abs=_TO_THE_DIGIT)
    name = f"llama.cpp {shape.name} {quantization} {context} x {slots} {'flash' if flash else ''}"
    total = compared(name, {"model": weights, "KV": cache, "compute": graph}, found)
    assert abs(total) < 0.03
    assert graph == pytest.approx(found["compute"], rel=0.15)


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_a_quantized_cache_has_ggml_s_true_block_sizes(tmp_path: Path, kind: KvType) -> None:
    run = run_of("0.33.0", 8192, flash_attention=True, kv_cache_type=kind)
    found = loaded(tmp_path, QWEN2, "Q4_0", run)
    assert found["KV"] == pytest.approx(sum(memory.kv_by_layer(QWEN2, run)), abs=_TO_THE_DIGIT)
