"""A card belongs to the class whose kernels and memory it has, by catalogue or by its driver."""

from typing import Any

import pytest

from orchestrator.catalog.accelerators import accelerator_facts
from orchestrator.machine import Accelerator
from orchestrator.speed.constants import constants
from orchestrator.speed.device import NAMES, class_of, device_of


def card(name: str, **known: Any) -> Accelerator:
    base: dict[str, Any] = {
        "vendor": "nvidia", "index": 0, "memory_total_bytes": None, "memory_free_bytes": None,
    }  # fmt: skip
    return Accelerator(name=name, **{**base, **known})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("NVIDIA GeForce RTX 4090", "nvidia-gddr", id="consumer"),
        pytest.param("NVIDIA RTX A6000", "nvidia-gddr", id="workstation-is-as-consumer"),
        pytest.param("NVIDIA L4", "nvidia-gddr-datacentre", id="ecc-takes-its-share"),
        pytest.param("NVIDIA A100-SXM4-80GB", "hbm", id="hbm"),
        pytest.param("AMD Instinct MI300X", "hbm", id="hbm-of-amd"),
        pytest.param("Tesla P40", "nvidia-old", id="pascal"),
        pytest.param("Tesla P100-PCIE-16GB", "nvidia-old", id="pascal-with-hbm-is-pascal"),
        pytest.param("Tesla M40 24GB", "nvidia-old", id="maxwell"),
        pytest.param("Tesla T4", "nvidia-gddr-datacentre", id="turing-is-not-old"),
        pytest.param("AMD Radeon RX 7900 XTX", "amd-gddr", id="radeon"),
        pytest.param("Apple M1 Ultra", "apple-early", id="apple-family-7"),
        pytest.param("Apple M3", "apple", id="apple-family-9"),
        pytest.param("NVIDIA GB10", "unified", id="unified-of-nvidia"),
        pytest.param("AMD Radeon 8060S (Ryzen AI Max+ 395)", "unified", id="unified-of-amd"),
        pytest.param("Intel(R) Arc(TM) B580 Graphics", "other", id="never-measured"),
    ],
)
def test_the_class_of_a_product(name: str, kind: str) -> None:
    facts = accelerator_facts(name)
    assert facts
    assert class_of(facts) == kind


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        pytest.param({"compute_capability": "9.0"}, "hbm", id="hopper-has-hbm"),
        pytest.param({"compute_capability": "8.6"}, "nvidia-gddr", id="other-ampere-has-not"),
        pytest.param({"compute_capability": "6.1"}, "nvidia-old", id="pascal"),
        pytest.param({"vendor": "amd", "gfx": "gfx942"}, "hbm", id="cdna"),
        pytest.param({"vendor": "amd", "gfx": "gfx1201"}, "amd-gddr", id="rdna"),
        pytest.param({"unified_memory": True}, "unified", id="unified"),
        pytest.param({"vendor": "apple", "name": "Apple M9 Max"}, "apple", id="newer-apple"),
        pytest.param({"vendor": "intel"}, "other", id="unmeasured-vendor"),
    ],
)
def test_an_unknown_card_is_classed_by_its_driver(known: dict[str, Any], kind: str) -> None:
    found = device_of(card(**{"name": "Foo 9999", "bandwidth_bytes_per_s": 10**12, **known}))
    assert found
    assert found.kind == kind
    assert found.flops is None


def test_without_any_bandwidth_there_is_no_device() -> None:
    assert device_of(card("Foo 9999")) is None


def test_the_sheet_goes_before_what_the_driver_shows_at_the_moment() -> None:
    found = device_of(card("NVIDIA GeForce RTX 4090", bandwidth_bytes_per_s=10**9))
    assert found
    assert found.bandwidth_bytes_per_s == 1008 * 10**9


def test_prefill_counts_no_tensor_rate_that_the_kernels_do_not_reach() -> None:
    geforce, workstation = (
        device_of(card(name)) for name in ("NVIDIA GeForce RTX 3090", "NVIDIA RTX A6000")
    )
    assert geforce
    assert workstation
    assert workstation.flops == pytest.approx(2 * 38.7e12)
    assert geforce.flops == pytest.approx(71.2e12)


def test_every_class_has_words_and_every_measured_one_constants() -> None:
    assert set(constants().classes) <= set(NAMES)
    assert set(constants().prefill) <= set(NAMES)
    assert constants().of("nothing-like-it") == constants().classes["other"]
