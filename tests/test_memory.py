"""Weights, KV cache and compute buffers against "buffer size" lines of real servers."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import compute, memory
from orchestrator.memory import KvType, Run
from orchestrator.model import Architecture
from orchestrator.units import MIB
from tests.shapes import (
    CATALOG,
    HALF_BILLION,
    SMOLLM2,
    TINY,
    VERSIONS,
    load_of,
    run_of,
    runs,
    shape_of,
    shapes,
)

LAW = settings(deadline=None, max_examples=60)


def cache(shape: Architecture, run: Run) -> float:
    return sum(memory.kv_by_layer(shape, run)) / MIB


@pytest.mark.parametrize(
    ("shape", "run", "mib"),
    [
        pytest.param(shape_of("deepseek-r1:1.5b"), run_of("0.9.3"), 112.0, id="1.5b-at-4096"),
        pytest.param(HALF_BILLION, run_of("0.9.3", 2048), 24.0, id="0.5b-at-2048"),
        pytest.param(HALF_BILLION, run_of("0.9.3", 8192), 96.0, id="0.5b-at-8192"),
        pytest.param(HALF_BILLION, run_of("0.9.3", 2048, parallel=4), 96.0, id="slots-multiply"),
        pytest.param(HALF_BILLION, run_of("0.9.3", 32768, parallel=4), 1536.0, id="0.5b-131072"),
        pytest.param(TINY, run_of("0.9.3"), 8.0, id="tiny"),
        pytest.param(shape_of("deepseek-r1:671b"), run_of("0.5.7", 2048), 9760.0, id="671b-full"),
        pytest.param(
            shape_of("deepseek-r1:1.5b"), run_of("0.33.0", kv_cache_type="q8_0"), 59.5, id="q8_0"
        ),
        pytest.param(
            shape_of("deepseek-r1:1.5b"), run_of("0.33.0", kv_cache_type="q4_0"), 31.5, id="q4_0"
        ),
    ],
)
def test_the_kv_cache_is_exact(shape: Architecture, run: Run, mib: float) -> None:
    assert cache(shape, run) == mib


@pytest.mark.parametrize(
    ("tokens", "cells"), [(1, 256), (256, 256), (257, 512), (4096, 4096), (90000, 90112)]
)
def test_the_cache_is_padded_to_blocks_of_256(tokens: int, cells: int) -> None:
    assert run_of("0.9.3", tokens, flash_attention=True).cells == cells
    assert run_of("0.20.0", tokens).cells == cells


def test_old_runners_padded_to_32_without_flash_attention() -> None:
    assert run_of("0.3.6", 40480).cells == 40480  # deepseek-coder-v2: 10673.44 MiB in a log
    assert run_of("0.9.3", 3900).cells == 3904


def test_a_split_latent_file_caches_the_latent_only() -> None:
    full = shape_of("deepseek-r1:671b")
    each = memory.kv_bytes_per_layer(replace(full, mla_cache=True), run_of("0.33.0"))
    assert each == 4096 * (512 + 64) * 2


@pytest.mark.parametrize(
    ("version", "copies"), [("0.9.3", 1), ("0.20.0", 25), ("0.24.0", 25), ("0.33.0", 1)]
)
def test_a_hybrid_keeps_recurrent_state_copies_in_the_measured_era(
    version: str, copies: int
) -> None:
    shape, run = shape_of("qwen3-next:80b"), run_of(version)
    layers = memory.kv_by_layer(shape, run)
    attention = memory.kv_bytes_per_layer(shape, run)
    assert layers.count(attention) == 12
    state = [size for size in layers if size != attention]
    assert len(state) == 36
    assert sum(state[:15]) / MIB == pytest.approx(15 * copies * 2.094, rel=1e-3)


def test_quantizing_the_cache_does_not_touch_recurrent_state() -> None:
    shape = shape_of("qwen3-next:80b")
    f16, q8_0 = run_of("0.20.0"), run_of("0.20.0", kv_cache_type="q8_0")
    assert memory.kv_by_layer(shape, f16)[0] == memory.kv_by_layer(shape, q8_0)[0]
    assert memory.kv_by_layer(shape, f16)[3] > memory.kv_by_layer(shape, q8_0)[3]


@pytest.mark.parametrize(
    ("shape", "run", "mib"),
    [
        pytest.param(SMOLLM2, run_of("0.9.3", 2048), 98.25, id="llama-logits"),
        pytest.param(shape_of("deepseek-r1:1.5b"), run_of("0.9.3"), 299.75, id="qwen2-logits"),
        pytest.param(HALF_BILLION, run_of("0.9.3", 32768), 967.0, id="scores"),
        pytest.param(HALF_BILLION, run_of("0.9.3", 32768, parallel=4), 3847.0, id="scores-4-slots"),
        pytest.param(HALF_BILLION, run_of("0.9.3", 8192, parallel=4), 967.0, id="slots-are-cells"),
    ],
)
def test_the_compute_buffer_is_the_log_s(shape: Architecture, run: Run, mib: float) -> None:
    assert compute.device_bytes(shape, run, "cpu") / MIB == mib


@pytest.mark.parametrize("context", [2048, 8192])
def test_the_logits_of_half_a_billion_are_near_the_log_s(context: int) -> None:
    found = compute.device_bytes(HALF_BILLION, run_of("0.9.3", context), "cpu") / MIB
    assert found == pytest.approx({2048: 299, 8192: 301}[context], rel=0.01)


def formula(shape: Architecture, run: Run, *, metal: bool = False, cpu: bool = False) -> int:
    """The page on compute buffers, written down again."""
    c = -(-run.context * run.parallel // 256) * 256
    b = min(512, c)
    m, e, v, f = b * c, shape.embedding_length, shape.vocab_size, shape.feed_forward_length
    h, version = shape.head_count, run.version.numbers
    if not run.flash_attention:
        if version < (0, 11):
            return max(4 * b * (v + e), 4 * m * h + 4 * m + 16 * b * e)
        wide = 8 if metal else 16
        return max(4 * b * (v + 2 * e), 4 * m * h + 6 * m + wide * b * e)
    if version >= (0, 30):
        return 2 * m + 12 * b * (f + e) + (4 * b * e if cpu else 0)
    hole = 4 * b * f
    x = hole * max(0, 3 - 4 * m // hole) if 4 * m >= hole else 0
    return max(4 * b * (v + e), 6 * m + 16 * b * e + x, 2 * m + 4 * b * (3 * f + 3 * e))


@pytest.mark.parametrize("context", [256, 4096, 32768, 131072])
@pytest.mark.parametrize("device", ["cuda", "metal", "cpu"])
@pytest.mark.parametrize(
    ("version", "flash"),
    # No log shows 0.30 or later without flash attention.
    [(v, f) for v in VERSIONS for f in (False, True) if f or v != "0.33.0"],
)
def test_each_version_has_its_formula(
    version: str, flash: bool, device: memory.Device, context: int
) -> None:
    run, shape = run_of(version, context, flash_attention=flash), shape_of("deepseek-r1:14b")
    want = formula(shape, run, metal=device == "metal", cpu=device == "cpu")
    assert compute.device_bytes(shape, run, device) == want


def test_four_cards_need_3_1_gib_of_compute_where_one_needs_0_7() -> None:
    shape, run = shape_of("deepseek-r1:14b"), run_of("0.9.3", 8192)
    each = compute.device_bytes(shape, run, "cuda")
    four = 4 * (each + compute.pipeline_bytes(shape, run)) + compute.host_bytes(shape, run, 4)
    one = each + compute.host_bytes(shape, run, 1)
    assert four / 2**30 == pytest.approx(3.13, abs=0.05)
    assert one / 2**30 == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize(
    ("version", "flash", "masks", "embeddings"),
    [
        pytest.param("0.9.3", False, 4, 4, id="before-0.11"),
        pytest.param("0.12.3", False, 6, 4, id="f16-copy"),
        pytest.param("0.12.3", True, 4, 4, id="flash"),
        pytest.param("0.33.0", True, 2, 8, id="llama-server"),
    ],
)
def test_the_host_s_part_of_a_gpu_run(
    version: str, flash: bool, masks: int, embeddings: int
) -> None:
    run, shape = run_of(version, flash_attention=flash), shape_of("deepseek-r1:14b")
    want = masks * 512 * 4096 + embeddings * 512 * 5120
    assert compute.host_bytes(shape, run, 1) == want


@pytest.mark.parametrize(
    ("version", "flash", "masks", "host_masks"),
    [
        pytest.param("0.9.3", False, 12, 16, id="three-masks-of-4"),
        pytest.param("0.12.3", False, 18, 24, id="three-masks-of-6"),
        pytest.param("0.12.3", True, 16, 16, id="flash"),
    ],
)
def test_several_cards_keep_copies_in_flight(
    version: str, flash: bool, masks: int, host_masks: int
) -> None:
    run, shape = run_of(version, flash_attention=flash), shape_of("deepseek-r1:14b")
    mask, embedding = 512 * 4096, 512 * 5120
    assert compute.pipeline_bytes(shape, run) == 16 * embedding + masks * mask
    assert compute.host_bytes(shape, run, 2) == 4 * embedding + host_masks * mask


def test_the_output_buffer_has_a_row_a_slot() -> None:
    shape = shape_of("deepseek-r1:1.5b")
    one = compute.output_bytes(shape, run_of("0.9.3"))
    assert one / MIB == pytest.approx(0.59, abs=0.005)
    assert compute.output_bytes(shape, run_of("0.9.3", parallel=4)) == 4 * one


@pytest.mark.parametrize(("prompt", "mib"), [(8, 1291), (16, 1300), (541, 1343)])
def test_resident_memory_is_within_a_percent_of_what_was_measured(prompt: int, mib: int) -> None:
    load = load_of("deepseek-r1:1.5b")
    assert load.weights.total_bytes / MIB == pytest.approx(1059.89, abs=0.01)
    found = memory.resident_bytes(load.shape, load.run, load.weights, prompt)
    assert found / MIB == pytest.approx(mib, rel=0.01)


@LAW
@given(shapes(), runs(), st.integers(1, 4096), st.sampled_from(["cuda", "metal", "cpu"]))
def test_more_context_never_needs_less(
    shape: Architecture, run: Run, more: int, device: memory.Device
) -> None:
    longer = replace(run, context=run.context + more)
    assert cache(shape, run) <= cache(shape, longer)
    assert compute.output_bytes(shape, run) == compute.output_bytes(shape, longer)
    for cards in (1, 4):
        host = compute.host_bytes(shape, run, cards)
        assert host <= compute.host_bytes(shape, longer, cards)
    short, long = (compute.device_bytes(shape, r, device) for r in (run, longer))
    if not run.flash_attention:  # with it, tensors move into the hole that a larger mask leaves
        assert short <= long


@LAW
@given(shapes(), runs())
def test_another_slot_takes_the_cache_of_its_tokens(shape: Architecture, run: Run) -> None:
    aligned = replace(run, context=-(-run.context // 256) * 256)
    one = cache(shape, replace(aligned, parallel=1))
    assert cache(shape, aligned) == pytest.approx(one * run.parallel, rel=1e-6)


@LAW
@given(shapes(), runs())
def test_finer_kv_types_are_larger(shape: Architecture, run: Run) -> None:
    kinds: tuple[KvType, ...] = ("q4_0", "q8_0", "f16")
    sizes = [cache(shape, replace(run, kv_cache_type=k)) for k in kinds]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


@LAW
@given(shapes(), runs(), st.integers(1, 4000), st.integers(1, 4000))
def test_a_longer_prompt_touches_more(
    shape: Architecture, run: Run, prompt: int, more: int
) -> None:
    weights = load_of("deepseek-r1:1.5b").weights
    short, long = (memory.resident_bytes(shape, run, weights, n) for n in (prompt, prompt + more))
    assert short < long


def test_every_shape_of_the_catalogue_has_a_cache_on_every_layer_that_attends() -> None:
    for shape in {c.architecture for c in CATALOG.candidates}:
        layers = memory.kv_by_layer(shape, run_of("0.33.0"))
        each = memory.kv_bytes_per_layer(shape, run_of("0.33.0"))
        assert len(layers) == shape.block_count
        assert layers.count(each) == shape.attention_layers


@pytest.mark.parametrize(
    ("tag", "version", "run", "device", "mib"),
    [
        pytest.param("qwen3:30b", "0.20.0", {"context": 4096}, "cpu", 88.0, id="own-engine-cpu"),
        pytest.param("qwen3:30b", "0.20.0", {"context": 16384}, "cpu", 96.0, id="its-mask-grows"),
        pytest.param("qwen3:1.7b", "0.20.0", {"context": 4096}, "cpu", 48.0, id="dense-cpu"),
        pytest.param("qwen3:30b", "0.20.0", {"context": 32768}, "cuda", 190.5, id="own-engine-gpu"),
        pytest.param(
            "qwen3-coder-next:latest", "0.20.0", {"context": 32768, "num_batch": 1024}, "cuda",
            884.1, id="hybrid",
        ),
        pytest.param(
            "deepseek-r1:671b", "0.5.12", {"context": 2048, "flash_attention": False}, "cpu",
            670.01, id="unsplit-latent",
        ),
        pytest.param(
            "deepseek-v3.1:671b", "0.33.0", {"context": 4096}, "cpu", 412.01, id="split-latent"
        ),
    ],
)  # fmt: skip
def test_single_lines_of_the_engines_that_few_logs_show(
    tag: str, version: str, run: dict[str, Any], device: memory.Device, mib: float
) -> None:
    settings = run_of(version, **({"flash_attention": True} | run))
    found = compute.device_bytes(shape_of(tag), settings, device)
    assert found / MIB == pytest.approx(mib, rel=0.035)


@pytest.mark.parametrize(
    ("version", "cells", "scores"),
    [("0.11.4", 32768, 32768), ("0.12.5", 32768, 8192), ("0.33.0", 32768, 8192)],
)
def test_each_slot_attends_to_its_own_cells(version: str, cells: int, scores: int) -> None:
    shape, run = shape_of("deepseek-r1:14b"), run_of(version, 8192, parallel=4)
    assert run.cells == cells
    alone = compute.device_bytes(shape, run_of(version, scores), "cuda")
    assert compute.device_bytes(shape, run, "cuda") == alone


def test_the_cells_of_each_slot_are_padded() -> None:
    assert run_of("0.33.0", 1100, parallel=4, flash_attention=True).cells == 4 * 1280
    assert run_of("0.9.3", 1100, parallel=4, flash_attention=True).cells == 4608
