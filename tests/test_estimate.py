"""The sum of the parts: per card, on the host, and in all."""

from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import compute, memory
from orchestrator.estimate import Estimate, estimate
from orchestrator.fit import target_of
from orchestrator.grade import Grade, Key, Ratio
from orchestrator.memory import Run
from orchestrator.model import Architecture
from orchestrator.placement import Card, Load, Placement, Share, everywhere, place
from orchestrator.schema import load as load_schema
from orchestrator.units import GIB, MIB
from tests.shapes import CATALOG, box, load_of, runs, shapes, uneven

TARGET = target_of(CATALOG.find("deepseek-r1:7b"), None)
LAW = settings(deadline=None, max_examples=80)


def of(load: Load, placement: Placement | None = None) -> Estimate:
    return estimate(TARGET, load, placement or everywhere(load))


def on_cpu(tag: str, **settings: Any) -> Estimate:
    load = load_of(tag, "0.9.3", **settings)
    return of(load, everywhere(load, layers=0))


def test_1_5b_on_the_cpu_is_the_log_to_the_digit() -> None:
    found = on_cpu("deepseek-r1:1.5b")
    assert found.weights_bytes / MIB == pytest.approx(1059.89, abs=0.005)
    assert found.kv_cache_bytes == 112 * MIB
    assert found.compute_bytes / MIB == pytest.approx(299.75 + 0.59, abs=0.01)
    assert found.overhead_bytes == 0
    assert found.devices == ()
    assert found.host_bytes == found.total_bytes


def test_a_card_carries_a_driver_context_and_the_host_the_embedding() -> None:
    load = load_of("deepseek-r1:7b")
    found = of(load)
    assert found.overhead_bytes == 457 * MIB
    assert found.weights_bytes == load.weights.total_bytes
    host = found.host_bytes - compute.output_bytes(load.shape, load.run)
    host -= compute.host_bytes(load.shape, load.run, 1)
    leftover = host - load.weights.embedding_bytes
    assert 0 <= leftover < load.shape.block_count  # bytes that do not divide by the layers


def test_tied_embeddings_are_loaded_once_more_on_a_card_only() -> None:
    load = load_of("qwen2.5:0.5b")
    assert load.shape.tied_embeddings
    whole, host = of(load), of(load, everywhere(load, layers=0))
    assert host.weights_bytes == load.weights.total_bytes
    assert whole.weights_bytes == load.weights.total_bytes + load.weights.embedding_bytes
    partly = of(load, everywhere(load, layers=10))
    assert partly.weights_bytes == load.weights.total_bytes


def test_four_cards_take_3_1_gib_of_compute() -> None:
    load = load_of("deepseek-r1:14b", "0.9.3", 8192)
    shares = [Share(index=i, layers=12, output=i == 3) for i in range(4)]
    found = of(load, Placement(shares=tuple(shares), total_layers=49))
    assert found.compute_bytes / GIB == pytest.approx(3.13, abs=0.05)
    assert of(load).compute_bytes / GIB == pytest.approx(0.7, abs=0.05)


def test_from_0_30_on_a_split_stages_the_cache_of_one_layer_only() -> None:
    load = load_of("deepseek-r1:7b", "0.33.0", flash_attention=True)
    found = of(load, everywhere(load, layers=10))
    card = found.devices[0].bytes - found.overhead_bytes - sum(load.layer_bytes[-9:])
    card -= load.output_bytes
    borrowed = memory.kv_bytes_per_layer(load.shape, load.run)
    assert card == compute.device_bytes(load.shape, load.run, "cuda") + borrowed


def test_a_split_stages_the_output_matrix_on_the_first_card() -> None:
    load = load_of("deepseek-r1:7b", "0.9.3", 2048)
    found = of(load, everywhere(load, layers=10))
    staged = 4 * 512 * (load.shape.embedding_length + load.shape.vocab_size)
    staged += load.weights.output_bytes
    card = found.devices[0].bytes - found.overhead_bytes - sum(load.layer_bytes[-10:])
    assert card == staged > compute.device_bytes(load.shape, load.run, "cuda")


def test_metal_has_its_own_compute_formula() -> None:
    load = load_of("deepseek-r1:7b", "0.12.3", 32768)
    cuda, metal = of(load), of(replace(load, device="metal"))
    assert cuda.compute_bytes - metal.compute_bytes == 8 * 512 * load.shape.embedding_length


def test_resident_memory_is_a_cpu_s_figure_and_no_part_of_the_total() -> None:
    found = on_cpu("deepseek-r1:1.5b")
    assert found.resident_bytes is not None
    assert found.resident_bytes < found.total_bytes
    assert "prompt of 32 tokens" in found.to_json()["memory"]["basis"]["compute"]
    assert of(load_of("deepseek-r1:7b")).resident_bytes is None


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        pytest.param("deepseek-r1:7b", "exact", id="grouped-query"),
        pytest.param("deepseek-r1:671b", "without split", id="latent-cached-in-full"),
        pytest.param("qwen3-next:80b", "thinly", id="hybrid"),
    ],
)
def test_the_basis_says_how_sure_the_cache_is(tag: str, says: str) -> None:
    assert says in of(load_of(tag)).to_json()["memory"]["basis"]["kv_cache"]


@pytest.mark.parametrize(
    ("tag", "version", "sure"),
    [
        ("deepseek-r1:7b", "0.9.3", True),
        ("deepseek-r1:7b", "0.33.0", True),
        ("qwen3:8b", "0.20.0", False),
    ],
)
def test_the_basis_says_where_compute_is_thinly_verified(
    tag: str, version: str, sure: bool
) -> None:
    basis = of(load_of(tag, version)).to_json()["memory"]["basis"]["compute"]
    assert version in basis
    assert ("thinly" not in basis) == sure


@pytest.mark.parametrize("tag", ["deepseek-r1:7b", "qwen2.5:0.5b", "qwen3-next:80b"])
def test_the_document_lists_each_layer_and_the_output_last(tag: str) -> None:
    load = load_of(tag)
    document = of(load).to_json()
    jsonschema.validate(document, load_schema("estimate"))
    layers = document["memory"]["per_layer"]
    assert [each["index"] for each in layers] == list(range(load.shape.block_count + 1))
    assert layers[-1]["weights_bytes"] == load.weights.output_bytes
    assert layers[-1]["kv_cache_bytes"] == 0
    cache = sum(each["kv_cache_bytes"] for each in layers)
    assert cache == document["memory"]["kv_cache_bytes"]


def some_load(shape: Architecture, run: Run, sizes: list[int]) -> Load:
    return Load(shape=shape, run=run, weights=uneven(shape, sizes, 100 * MIB, 300 * MIB))


LOADS = st.builds(
    some_load, shapes(), runs(), st.lists(st.integers(MIB, 400 * MIB), min_size=1, max_size=8)
)


@LAW
@given(LOADS, st.booleans(), st.lists(st.integers(0, 100), min_size=1, max_size=4))
def test_the_parts_sum_to_devices_and_host(load: Load, spread: bool, free_gib: list[int]) -> None:
    load = replace(load, spread=spread)
    cards = [Card(index=i, free_bytes=f * GIB) for i, f in enumerate(free_gib)]
    found = of(load, place(load, cards))
    parts = found.weights_bytes + found.kv_cache_bytes + found.compute_bytes + found.overhead_bytes
    assert found.total_bytes == parts
    assert found.total_bytes == found.host_bytes + sum(d.bytes for d in found.devices)
    assert found.kv_cache_bytes == sum(memory.kv_by_layer(load.shape, load.run))
    again = load.weights.embedding_bytes if load.shape.tied_embeddings else 0
    assert found.weights_bytes - load.weights.total_bytes in (0, again)
    assert found.host_bytes > 0


@LAW
@given(LOADS, st.integers(1, 65536), st.sampled_from(["cpu", "gpu"]))
def test_more_context_or_slots_never_take_less(load: Load, more: int, kind: str) -> None:
    run = replace(load.run, flash_attention=False)
    load = replace(load, run=run)
    longer = replace(load, run=replace(run, context=run.context + more))
    wider = replace(load, run=replace(run, parallel=run.parallel + 1))
    layers = 0 if kind == "cpu" else None
    small, *large = (of(each, everywhere(each, layers=layers)) for each in (load, longer, wider))
    assert all(small.total_bytes <= each.total_bytes for each in large)


@LAW
@given(LOADS, st.integers(0, 60))
def test_a_layer_more_on_the_card_is_one_less_on_the_host(load: Load, layers: int) -> None:
    total = load.shape.block_count - 1
    before = of(load, everywhere(load, layers=min(layers, total - 1) + 1))
    after = of(load, everywhere(load, layers=min(layers, total - 1) + 2))
    if after.placement.kind == "split":
        assert after.host_bytes < before.host_bytes
        assert after.devices[0].bytes > before.devices[0].bytes
        assert after.total_bytes == before.total_bytes


def test_a_processor_with_amx_holds_tied_embeddings_twice() -> None:
    """Qwen2.5 3B on 0.32.0: 1869.05 MiB in AMX's buffer and 244.35 beside it."""
    load = load_of("qwen2.5:3b", "0.32.0", 2048, flash_attention=True)
    amx = box(16)
    amx = replace(amx, host=replace(amx.host, isa=("avx2", "amx_int8")))
    cpu = everywhere(load, layers=0)
    weights = estimate(TARGET, load, cpu, machine=amx).weights_bytes
    assert weights / MIB == pytest.approx(1869.05 + 244.35, rel=0.002)
    assert of(load, cpu).weights_bytes == load.weights.total_bytes


# --- calibrated ----------------------------------------------------------------------------------

KEY = Key(
    machine="x", server_version="0.9.3", architecture="qwen2", quantization="Q4_K_M",
    context_bucket=4096, placement="split", runtime=None,
)  # fmt: skip


def ratio(value: float) -> Ratio:
    return Ratio(median=value, least=0.9 * value, most=1.1 * value, runs=3)


def grade_of(placement: str, devices: float | None, resident: float | None) -> Grade:
    return Grade(
        key=replace(KEY, placement=placement),
        devices=None if devices is None else ratio(devices),
        resident=None if resident is None else ratio(resident),
        decode=None,
        runs=3,
    )


@given(st.sampled_from([0, 10, 28, 29]), st.floats(0.2, 5), st.floats(0.2, 5), st.booleans())
@LAW
def test_what_is_needed_is_never_below_the_raw_figures_which_stay_as_they_are(
    layers: int, devices: float, resident: float, on_both: bool
) -> None:
    load = load_of("deepseek-r1:7b")
    raw = of(load, everywhere(load, layers=layers))
    kind = raw.placement.kind
    on_cards, on_host = kind != "cpu", kind == "cpu" or (kind == "split" and on_both)
    grade = grade_of(kind, devices if on_cards else None, resident if on_host else None)
    found = raw.graded(grade)
    assert replace(found, calibrated=None) == raw
    needs, calibrated = found.needs, found.calibrated
    assert calibrated
    assert calibrated.needs
    assert needs.total_bytes == max(raw.total_bytes, calibrated.needs.total_bytes)
    assert needs.host_bytes == max(raw.host_bytes, calibrated.needs.host_bytes)
    for need, before, seen in zip(
        needs.devices, raw.devices, calibrated.needs.devices, strict=True
    ):
        assert seen.bytes == round(devices * before.bytes)
        assert need.bytes == max(seen.bytes, before.bytes)
    jsonschema.validate(found.to_json(), load_schema("estimate"))


def test_more_that_was_resident_is_needed_on_the_host_and_counts_in_the_total() -> None:
    raw = on_cpu("deepseek-r1:1.5b")
    assert raw.resident_bytes
    needs = raw.graded(grade_of("cpu", None, 1.5)).needs
    more = round(0.5 * raw.resident_bytes)
    assert needs.host_bytes - raw.host_bytes == pytest.approx(more, abs=1)
    assert needs.total_bytes - raw.total_bytes == pytest.approx(more, abs=1)


def test_without_a_grade_an_estimate_stays_as_it_is() -> None:
    raw = on_cpu("deepseek-r1:1.5b")
    assert raw.graded(None) is raw
    assert raw.to_json()["calibrated"] is None
    nothing = raw.graded(grade_of("cpu", None, None))
    assert nothing.calibrated
    assert (nothing.needs.total_bytes, nothing.calibrated.needs) == (raw.total_bytes, None)
