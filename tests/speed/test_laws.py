"""Laws that hold for any model, card and placement."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.fit import target_of
from orchestrator.machine import Accelerator, Machine
from orchestrator.placement import Load, Placement, Share, everywhere
from orchestrator.speed import Speed, predict
from orchestrator.speed.constants import constants
from orchestrator.speed.work import Token, Work, seconds
from tests.shapes import CATALOG, box, load_of
from tests.speed.published import whole

TAGS = st.sampled_from(
    ["qwen2.5:0.5b", "deepseek-r1:7b", "qwen3:30b", "qwen3-next:80b", "deepseek-r1:671b"]
)
LAWFUL = settings(deadline=None, max_examples=60)
BANDWIDTHS = st.integers(10**10, 10**13)


def made(bandwidth: int, index: int = 0, **more: Any) -> Accelerator:
    base: dict[str, Any] = {
        "vendor": "nvidia", "name": "Foo 9999", "memory_total_bytes": 2**40,
        "memory_free_bytes": 2**40, "compute_capability": "8.6",
    }  # fmt: skip
    return Accelerator(index=index, bandwidth_bytes_per_s=bandwidth, **{**base, **more})


def with_cards(*cards: Accelerator, cores: int = 8) -> Machine:
    return replace(box(1024, host={"physical_cores": cores}), accelerators=cards)


def of(tag: str, machine: Machine, placement: Placement, load: Load | None = None) -> Speed:
    target = target_of(CATALOG.find(tag), None)
    found = predict(target, load or load_of(tag), placement, machine)
    assert found
    return found


@LAWFUL
@given(TAGS, BANDWIDTHS, st.integers(0, 10**12), st.one_of(st.none(), st.integers(0, 20)))
def test_more_bandwidth_is_never_slower(
    tag: str, least: int, more: int, layers: int | None
) -> None:
    placement = everywhere(load_of(tag), layers=layers)
    slow, fast = (of(tag, with_cards(made(b)), placement) for b in (least, least + more))
    for one, other in zip(slow.decode_tps, fast.decode_tps, strict=True):
        assert other >= one * (1 - 1e-9)
    assert fast.prefill_tps[1] >= slow.prefill_tps[1] * (1 - 1e-9)


@LAWFUL
@given(TAGS, st.integers(10**9, 10**12), st.integers(0, 10**12), st.integers(1, 64))
def test_more_host_bandwidth_is_never_slower(tag: str, least: int, more: int, cores: int) -> None:
    machine = with_cards(cores=cores)
    cpu = everywhere(load_of(tag), layers=0)
    slow, fast = (
        of(tag, replace(machine, memory=replace(machine.memory, bandwidth_bytes_per_s=b)), cpu)
        for b in (least, least + more)
    )
    assert fast.decode_tps >= slow.decode_tps


@LAWFUL
@given(TAGS, st.integers(1, 64), st.integers(0, 64))
def test_more_cores_are_never_slower(tag: str, least: int, more: int) -> None:
    cpu = everywhere(load_of(tag), layers=0)
    slow, fast = (of(tag, with_cards(cores=n), cpu) for n in (least, least + more))
    assert fast.decode_tps >= slow.decode_tps


@LAWFUL
@given(TAGS, BANDWIDTHS, st.integers(1, 16), st.sampled_from([None, 0, 7]))
def test_fewer_bytes_are_never_slower(
    tag: str, bandwidth: int, part: int, layers: int | None
) -> None:
    load = load_of(tag)
    less = tuple(b // part for b in load.weights.per_layer_bytes)
    lost = sum(load.weights.per_layer_bytes) - sum(less)
    weights = replace(
        load.weights,
        per_layer_bytes=less,
        total_bytes=load.weights.total_bytes - lost,
        expert_layer_bytes=tuple(b // part for b in load.weights.expert_layer_bytes),
    )
    placement, machine = everywhere(load, layers=layers), with_cards(made(bandwidth))
    smaller = of(tag, machine, placement, replace(load, weights=weights))
    assert smaller.decode_tps[1] >= of(tag, machine, placement).decode_tps[1]


@LAWFUL
@given(TAGS, BANDWIDTHS, st.integers(1, 8), st.integers(1, 128), st.sampled_from([512, 32768]))
def test_ranges_are_ordered_and_positive(
    tag: str, bandwidth: int, count: int, cores: int, context: int
) -> None:
    load = load_of(tag, context=context)
    machine = with_cards(*(made(bandwidth, i) for i in range(count)), cores=cores)
    for placement in (whole(load, count), everywhere(load, layers=3), everywhere(load, layers=0)):
        found = of(tag, machine, placement, load)
        for low, likely, high in (found.decode_tps, found.prefill_tps, found.load_s):
            assert 0 < low < likely < high


@LAWFUL
@given(TAGS, st.integers(2, 16))
def test_a_second_card_adds_memory_not_speed(tag: str, count: int) -> None:
    load = load_of(tag)
    cards = [made(10**12, i) for i in range(count)]
    alone = of(tag, with_cards(cards[0]), everywhere(load)).decode_tps[1]
    spread = of(tag, with_cards(*cards), whole(load, count)).decode_tps[1]
    hops = (count - 1) * constants().hop_s
    assert 1 / spread == pytest.approx(1 / alone + hops)


@LAWFUL
@given(TAGS, BANDWIDTHS)
def test_mixed_cards_lie_between_the_two(tag: str, bandwidth: int) -> None:
    load = load_of(tag)
    one, other = made(bandwidth), made(3 * bandwidth, 1)
    placement = whole(load, 2)
    both = of(tag, with_cards(one, other), placement).decode_tps[1]
    slow, fast = (
        of(tag, with_cards(made(b), made(b, 1)), placement).decode_tps[1]
        for b in (bandwidth, 3 * bandwidth)
    )
    assert slow <= both <= fast


@pytest.mark.parametrize("context", [4096, 32768])
def test_a_full_cache_lowers_only_the_lower_bound(context: int) -> None:
    short, long = (
        of("deepseek-r1:7b", with_cards(made(10**12)), everywhere(load), load)
        for load in (load_of("deepseek-r1:7b", context=c) for c in (512, context))
    )
    assert long.decode_tps[1:] == short.decode_tps[1:]
    assert long.decode_tps[0] < short.decode_tps[0]


def with_experts(tag: str) -> Load:
    """Return a mixture whose layers are experts to nine tenths."""
    load = load_of(tag)
    experts = tuple(size * 9 // 10 for size in load.weights.per_layer_bytes)
    return replace(load, weights=replace(load.weights, expert_layer_bytes=experts))


def test_of_a_mixture_only_the_experts_in_use_are_read() -> None:
    load = with_experts("qwen3:30b")
    token = Token.of(target_of(CATALOG.find("qwen3:30b"), None), load, 256)
    layers, experts = (
        sum(sizes) for sizes in (load.weights.per_layer_bytes, load.weights.expert_layer_bytes)
    )
    cache = load.shape.block_count * token.cache_bytes
    read = token.span(0, load.shape.block_count).read_bytes - cache
    assert read == pytest.approx(layers - experts + experts * 8 / 128)


@LAWFUL
@given(st.integers(0, 48), st.integers(0, 48))
def test_experts_left_on_the_host_cost_what_the_host_takes(fewer: int, more: int) -> None:
    load, machine = with_experts("qwen3:30b"), with_cards(made(10**12))
    rates = []
    for left in sorted((fewer, more)):
        share = Share(index=0, layers=48, output=True, expert_layers=left)
        placement = Placement(shares=(share,), total_layers=load.shape.layers)
        found = of("qwen3:30b", machine, placement, load)
        assert ("CPU" in found.basis) == (left > 0)
        rates.append(found.decode_tps[1])
    assert rates[1] < rates[0] or fewer == more


def test_seconds_are_bytes_over_bandwidth_and_launches() -> None:
    of_class = replace(constants().classes["hbm"], efficiency=0.5, launch_s=1e-4)
    work = Work(read_bytes=1e9, layers=10, recurrent=4)
    found = seconds(work, bandwidth_bytes_per_s=1e12, constants=of_class, recurrent=0.5)
    assert found == pytest.approx(2e-3 + 12e-4)
