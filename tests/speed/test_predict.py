"""Speed is a range with a basis; null where unknown."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.fit import target_of
from orchestrator.machine import Machine
from orchestrator.placement import everywhere
from orchestrator.speed import Speed, predict
from orchestrator.speed.constants import constants
from orchestrator.speed.cpu import host_of
from orchestrator.speed.work import Token
from tests.shapes import CATALOG, box, load_of

TWO_CORES: dict[str, Any] = {"physical_cores": 2}
EMBEDDED = box(8, host=TWO_CORES, server={"runtime": "embedded"})
RTX_4090 = ("NVIDIA GeForce RTX 4090", 24)


def of(tag: str, machine: Machine, layers: int | None = None) -> Speed | None:
    load = load_of(tag, "0.9.3")
    target = target_of(CATALOG.find(tag), None)
    return predict(target, load, everywhere(load, layers=layers), machine)


def likely(tag: str, machine: Machine, layers: int | None = None) -> float:
    found = of(tag, machine, layers)
    assert found is not None
    return found.decode_tps[1]


@pytest.mark.parametrize(
    ("tag", "card", "measured"),
    [
        # Published by others (scripts/speed/holdout.csv): on these cards nothing was calibrated.
        pytest.param("deepseek-r1:14b", RTX_4090, 92.5, id="consumer"),
        pytest.param("deepseek-r1:70b", ("NVIDIA RTX A6000", 48), 14.58, id="workstation"),
        pytest.param("deepseek-r1:70b", ("NVIDIA H100 PCIe", 80), 25.0, id="data-centre"),
        pytest.param("deepseek-r1:7b", ("Tesla P40", 24), 39.3, id="pascal"),
        pytest.param("deepseek-r1:70b", ("Apple M3 Ultra", 256), 14.1, id="apple"),
        pytest.param("deepseek-r1:14b", ("AMD Radeon AI PRO R9700", 32), 53.7, id="radeon"),
        pytest.param("qwen3:30b", ("AMD Radeon RX 7900 XT", 20), 158.4, id="mixture-of-experts"),
    ],
)
def test_it_is_near_what_others_measured(
    tag: str, card: tuple[str, float], measured: float
) -> None:
    assert likely(tag, box(512, card)) == pytest.approx(measured, rel=0.25)


def test_a_small_model_on_a_fast_card_is_bound_by_launches() -> None:
    h200 = box(64, ("NVIDIA H200", 141))
    naive = 4.8e12 / load_of("deepseek-r1:1.5b").weights.total_bytes
    assert likely("deepseek-r1:1.5b", h200) < naive / 4


@pytest.mark.parametrize(
    ("tag", "low", "high"),
    [
        pytest.param("deepseek-r1:1.5b", 3.2, 3.9, id="4-bit-kernels-are-slow"),
        pytest.param("deepseek-r1:1.5b-qwen-distill-q8_0", 6, 10, id="8-bit-ones-are-not"),
    ],
)
def test_the_embedded_runtime_on_two_cores(tag: str, low: float, high: float) -> None:
    assert low < likely(tag, EMBEDDED, 0) < high


def test_a_prefill_reads_the_weights_once_a_batch() -> None:
    found = of("deepseek-r1:7b", box(64, RTX_4090))
    assert found
    flops = constants().prefill_of("nvidia-gddr").flops_share * 165.2e12
    arithmetic_s = 2 * CATALOG.find("deepseek-r1:7b").parameters_active / flops
    assert 1 / found.prefill_tps[1] == pytest.approx(arithmetic_s + 1 / found.decode_tps[1] / 512)


def test_prefill_without_a_peak_on_the_sheet_is_a_multiple_of_decode() -> None:
    card = replace(box(64, ("NVIDIA Foo 9999", 24)).accelerators[0], bandwidth_bytes_per_s=10**12)
    found = of("deepseek-r1:7b", replace(box(64), accelerators=(card,)))
    assert found
    assert found.decode_tps[1] / found.prefill_tps[1] == pytest.approx(1 / 20 + 1 / 512)


def test_its_prefill_is_little_faster_than_its_decode() -> None:
    found = of("deepseek-r1:1.5b", EMBEDDED, 0)
    assert found is not None
    assert found.prefill_tps[1] == pytest.approx(4.7, rel=0.1)  # measured


def test_a_release_is_faster_than_the_embedded_build() -> None:
    release = box(8, host=TWO_CORES, server={"runtime": "release"})
    assert likely("deepseek-r1:1.5b", release, 0) > 2 * likely("deepseek-r1:1.5b", EMBEDDED, 0)


def test_the_memory_s_bandwidth_bounds_a_cpu() -> None:
    slow = box(64, host={"physical_cores": 16}, memory={"bandwidth_bytes_per_s": 20 * 10**9})
    fast = box(64, host={"physical_cores": 16}, memory={"bandwidth_bytes_per_s": 80 * 10**9})
    assert likely("deepseek-r1:7b", fast, 0) == pytest.approx(
        4 * likely("deepseek-r1:7b", slow, 0), rel=0.01
    )


@pytest.mark.parametrize(
    ("host", "cores"),
    [
        pytest.param({"physical_cores": 1, "threads": 1, "cpu_quota": 500}, 0.5, id="half-a-core"),
        pytest.param({"physical_cores": 3, "threads": 2, "cpu_quota": 2500}, 2, id="two-threads"),
        pytest.param({"physical_cores": 16, "threads": 8}, 8, id="fast-cores-of-two-kinds"),
        pytest.param({"physical_cores": 3, "cpu_quota": 2500}, 2.5, id="threads-unknown"),
        pytest.param({"threads": 4}, 4, id="without-a-topology"),
        pytest.param({"physical_cores": 4, "threads": 4, "cpu_quota": 9000}, 4, id="above-the-box"),
        pytest.param({}, 2, id="nothing-known"),
    ],
)
def test_only_cores_that_a_thread_runs_on_and_a_quota_grants_compute(
    host: dict[str, Any], cores: float
) -> None:
    machine = box(64, host=host, memory={"bandwidth_bytes_per_s": 10**12})
    found = host_of(target_of(CATALOG.find("deepseek-r1:7b"), None), machine)
    assert found.bytes_per_s == pytest.approx(cores * constants().cpu.bytes_per_core_s)
    assert f" {cores:g} cores x" in found.basis


def test_a_memory_is_as_wide_whatever_part_of_the_cores_compute() -> None:
    """With slow cores beside the fast ones, an assumed bandwidth counts the channels of all."""
    target = target_of(CATALOG.find("deepseek-r1:7b"), None)
    found = [
        host_of(target, box(64, host={"physical_cores": 32, **threads})).bytes_per_s
        for threads in ({}, {"threads": 16})
    ]
    assert found[0] == found[1]


def test_of_a_measured_bandwidth_the_share_is_larger_than_of_the_sheet_s() -> None:
    machine = box(64, host={"physical_cores": 16}, memory={"bandwidth_bytes_per_s": 60 * 10**9})
    target = target_of(CATALOG.find("deepseek-r1:7b"), None)
    of_sheet = constants().cpu.efficiency * 80e9
    assert host_of(target, machine).bytes_per_s == pytest.approx(of_sheet)


def test_a_measured_bandwidth_narrows_the_range() -> None:
    told, untold = (
        of("deepseek-r1:7b", box(64, host={"physical_cores": 16}, memory=known), 0)
        for known in ({"bandwidth_bytes_per_s": 56 * 10**9}, {})
    )
    assert told
    assert untold
    assert told.decode_tps[1] == untold.decode_tps[1]
    assert told.decode_tps[0] > untold.decode_tps[0]


def test_an_unknown_card_has_no_speed_rather_than_a_guess() -> None:
    machine = box(64, ("NVIDIA Foo 9999", 24))
    assert of("deepseek-r1:7b", machine) is None
    told = replace(machine.accelerators[0], bandwidth_bytes_per_s=10**12)
    assert of("deepseek-r1:7b", replace(machine, accelerators=(told,))) is not None


@pytest.mark.parametrize(
    ("tag", "billions"),
    [
        pytest.param("qwen3:30b", 3.04, id="experts-in-use"),
        pytest.param("deepseek-r1:671b", 36.6, id="shared-expert-and-dense-layers"),
        pytest.param(
            "deepseek-r1:8b-llama-distill-q4_K_M", 7.5, id="dense-reads-all-but-token_embd"
        ),
    ],
)
def test_what_a_token_reads(tag: str, billions: float) -> None:
    load, found = load_of(tag), CATALOG.find(tag)
    token = Token.of(target_of(found, None), load, 1)
    read = token.span(0, load.shape.block_count).read_bytes + load.output_bytes
    bytes_a_parameter = load.weights.total_bytes / found.parameters_total
    assert read / bytes_a_parameter == pytest.approx(billions * 1e9, rel=0.1)


def test_each_layer_moved_to_the_cpu_costs() -> None:
    machine = box(64, RTX_4090, host={"physical_cores": 8})
    rates = [likely("deepseek-r1:7b", machine, n) for n in range(30)]
    assert rates == sorted(rates)
    assert rates[-1] > 5 * rates[0]


def test_the_basis_names_what_runs_and_what_stands_behind_it() -> None:
    machine = box(64, RTX_4090, host={"physical_cores": 8})
    whole, split, cpu = (of("deepseek-r1:7b", machine, n) for n in (29, 10, 0))
    assert whole
    assert split
    assert cpu
    assert whole.basis.startswith("NVIDIA GeForce RTX 4090: 1008 GB/s x 0.")
    assert "measurements on" in whole.basis
    assert cpu.basis.startswith("CPU: ")
    assert split.basis == f"{whole.basis} + {cpu.basis}"


def test_a_class_that_nobody_measured_says_so_and_is_wider() -> None:
    machine = box(64, RTX_4090, ("Intel(R) Arc(TM) B580 Graphics", 12))
    geforce, arc = (
        of("deepseek-r1:7b", replace(machine, accelerators=(replace(a, index=0, usable=True),)))
        for a in machine.accelerators
    )
    assert arc
    assert geforce
    assert "no measurement of this class" in arc.basis
    assert arc.decode_tps[2] / arc.decode_tps[1] > geforce.decode_tps[2] / geforce.decode_tps[1]


def test_the_document_has_three_numbers_each() -> None:
    found = of("deepseek-r1:7b", EMBEDDED, 0)
    assert found
    document = found.to_json()
    assert all(len(v) == 3 for k, v in document.items() if k != "basis")
    assert document["basis"] == found.basis
