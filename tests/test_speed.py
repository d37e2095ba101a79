"""Speed is a range with a basis: plausible against what others measured, null where unknown."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.fit import target_of
from orchestrator.machine import Machine
from orchestrator.placement import everywhere
from orchestrator.speed import Speed, predict
from tests.shapes import CATALOG, box, load_of

TWO_CORES: dict[str, Any] = {"physical_cores": 2}
EMBEDDED = box(8, host=TWO_CORES, server={"runtime": "embedded"})


def of(tag: str, machine: Machine, layers: int | None = None) -> Speed | None:
    load = load_of(tag, "0.9.3")
    target = target_of(CATALOG.find(tag), None)
    return predict(target, load, everywhere(load, layers=layers), machine)


def likely(tag: str, machine: Machine, layers: int | None = None) -> float:
    found = of(tag, machine, layers)
    assert found is not None
    return found.decode_tps[1]


@pytest.mark.parametrize(
    ("tag", "card", "low", "high"),
    [
        # Published rates lie near these; the model is to be right within a factor of 1.5.
        pytest.param("deepseek-r1:7b", ("NVIDIA GeForce RTX 4090", 24), 90, 210, id="7b-4090"),
        pytest.param("deepseek-r1:32b", ("NVIDIA GeForce RTX 4090", 24), 25, 55, id="32b-4090"),
        pytest.param("deepseek-r1:14b", ("NVIDIA GeForce RTX 3060", 12), 18, 45, id="14b-3060"),
        pytest.param(
            "deepseek-r1:1.5b", ("NVIDIA H200", 141), 100, 450, id="small-is-launch-bound"
        ),
    ],
)
def test_a_card_s_bandwidth_decides(
    tag: str, card: tuple[str, float], low: float, high: float
) -> None:
    assert low < likely(tag, box(64, card)) < high


@pytest.mark.parametrize(
    ("tag", "low", "high"),
    [
        pytest.param("deepseek-r1:1.5b", 3.2, 3.9, id="4-bit-kernels-are-slow"),
        pytest.param("deepseek-r1:1.5b-qwen-distill-q8_0", 6, 10, id="8-bit-ones-are-not"),
    ],
)
def test_the_embedded_runtime_on_two_cores(tag: str, low: float, high: float) -> None:
    assert low < likely(tag, EMBEDDED, 0) < high


def test_a_release_is_faster_than_the_embedded_build() -> None:
    release = box(8, host=TWO_CORES, server={"runtime": "release"})
    assert likely("deepseek-r1:1.5b", release, 0) > 2 * likely("deepseek-r1:1.5b", EMBEDDED, 0)


def test_the_memory_s_bandwidth_bounds_a_cpu() -> None:
    slow = box(64, host={"physical_cores": 16}, memory={"bandwidth_bytes_per_s": 20 * 10**9})
    fast = box(64, host={"physical_cores": 16}, memory={"bandwidth_bytes_per_s": 80 * 10**9})
    assert likely("deepseek-r1:7b", fast, 0) == pytest.approx(
        4 * likely("deepseek-r1:7b", slow, 0), rel=0.01
    )


def test_an_unknown_card_has_no_speed_rather_than_a_guess() -> None:
    machine = box(64, ("NVIDIA Foo 9999", 24))
    assert of("deepseek-r1:7b", machine) is None
    told = replace(machine.accelerators[0], bandwidth_bytes_per_s=10**12)
    assert of("deepseek-r1:7b", replace(machine, accelerators=(told,))) is not None


def test_a_mixture_reads_only_the_experts_in_use() -> None:
    machine = box(64, ("NVIDIA GeForce RTX 4090", 24))
    assert likely("qwen3:30b", machine) > 2 * likely("deepseek-r1:32b", machine)


def test_each_layer_moved_to_the_cpu_costs() -> None:
    machine = box(64, ("NVIDIA GeForce RTX 4090", 24), host={"physical_cores": 8})
    rates = [likely("deepseek-r1:7b", machine, n) for n in range(30)]
    assert rates == sorted(rates)
    assert rates[-1] > 5 * rates[0]


def test_the_basis_names_what_runs() -> None:
    machine = box(64, ("NVIDIA GeForce RTX 4090", 24), host={"physical_cores": 8})
    whole, split, cpu = (of("deepseek-r1:7b", machine, n) for n in (29, 10, 0))
    assert whole
    assert split
    assert cpu
    assert whole.basis == "NVIDIA GeForce RTX 4090, bandwidth"
    assert split.basis == "NVIDIA GeForce RTX 4090, bandwidth and CPU"
    assert cpu.basis == "CPU, 8 cores"


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["qwen2.5:0.5b", "deepseek-r1:7b", "qwen3:30b", "deepseek-r1:671b"]),
    st.integers(1, 128),
    st.sampled_from([None, 0, 5]),
)
def test_ranges_are_ordered_and_positive(tag: str, cores: int, layers: int | None) -> None:
    machine = box(64, ("NVIDIA A10", 24), host={"physical_cores": cores})
    found = of(tag, machine, layers)
    assert found is not None
    for low, mid, high in (found.decode_tps, found.prefill_tps, found.load_s):
        assert 0 < low < mid < high
    assert all(len(v) == 3 for k, v in found.to_json().items() if k != "basis")
