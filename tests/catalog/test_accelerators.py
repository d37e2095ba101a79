"""Driver names lead to the facts of the right product, never to those of a faster sibling."""

import json
from importlib.resources import files
from typing import get_args

import pytest

from orchestrator.catalog import accelerator_facts
from orchestrator.machine import Vendor
from orchestrator.units import GIB, MIB

ROWS = json.loads(files("orchestrator.catalog").joinpath("accelerators.json").read_text("utf-8"))[
    "accelerators"
]


def name_of(reported: str, vram_bytes: int | None = None) -> str | None:
    facts = accelerator_facts(reported, vram_bytes)
    return facts.name if facts else None


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_every_product_is_found_by_its_own_name(row: dict[str, object]) -> None:
    assert name_of(str(row["name"])) == row["name"]


def test_the_facts_of_a_card_carry_units() -> None:
    facts = accelerator_facts("NVIDIA GeForce RTX 4090", 24564 * MIB)
    assert facts is not None
    assert facts.bandwidth_bytes_per_s == 1_008_000_000_000
    assert facts.fp16_flops == pytest.approx(165.2e12)
    assert facts.memory_bytes == 24 * GIB
    assert (facts.compute_capability, facts.gfx, facts.memory_type) == ("8.9", None, "GDDR6X")
    assert (facts.datacenter, facts.unified_memory, facts.ollama_supported) == (False, False, True)
    assert facts.sources


@pytest.mark.parametrize(
    ("reported", "vram", "name"),
    [
        pytest.param("geforce rtx 4090", None, "NVIDIA GeForce RTX 4090", id="no-vendor-no-case"),
        pytest.param("RTX 4090", None, "NVIDIA GeForce RTX 4090", id="as-people-say"),
        pytest.param(
            "NVIDIA GeForce RTX 4090 Laptop GPU", None, "NVIDIA GeForce RTX 4090 Laptop GPU",
            id="laptop-part-is-another-chip",
        ),
        pytest.param("NVIDIA GeForce RTX 4080", None, "NVIDIA GeForce RTX 4080", id="not-super"),
        pytest.param("NVIDIA GeForce RTX 3080", None, "NVIDIA GeForce RTX 3080", id="unmarked"),
        pytest.param(
            "NVIDIA GeForce RTX 3080", 12 * GIB, "NVIDIA GeForce RTX 3080 (12 GB)", id="by-memory"
        ),
        pytest.param(
            "NVIDIA GeForce RTX 4060 Ti", 16380 * MIB, "NVIDIA GeForce RTX 4060 Ti (16 GB)",
            id="memory-as-nvml-undercuts-it",
        ),
        pytest.param("A100", 40 * GIB, "NVIDIA A100-PCIE-40GB", id="a100-40"),
        pytest.param("A100", 80 * GIB, "NVIDIA A100 80GB PCIe", id="slower-of-two-a100-80"),
        pytest.param("A100 40GB/80GB", 80 * GIB, "NVIDIA A100 80GB PCIe", id="choice-in-a-name"),
        pytest.param("A100 PCIe 80GB", None, "NVIDIA A100 80GB PCIe", id="other-word-order"),
        pytest.param("NVIDIA A100-SXM4-80GB", None, "NVIDIA A100-SXM4-80GB", id="sxm"),
        pytest.param("NVIDIA H100 80GB HBM3", None, "NVIDIA H100 80GB HBM3", id="h100-sxm"),
        pytest.param("H100 SXM5", None, "NVIDIA H100 80GB HBM3", id="h100-by-form"),
        pytest.param("H100", None, "NVIDIA H100 PCIe", id="slowest-h100"),
        pytest.param("NVIDIA H100 NVL", None, "NVIDIA H100 NVL", id="h100-nvl"),
        pytest.param("V100", 32 * GIB, "Tesla V100-PCIE-32GB", id="tesla-left-out"),
        pytest.param("NVIDIA RTX A2000", 6138 * MIB, "NVIDIA RTX A2000", id="a2000"),
        pytest.param("NVIDIA RTX A2000 12GB", None, "NVIDIA RTX A2000 12GB", id="a2000-12"),
        pytest.param("Quadro RTX 6000", None, "Quadro RTX 6000", id="turing-6000"),
        pytest.param(
            "NVIDIA RTX 6000 Ada Generation", None, "NVIDIA RTX 6000 Ada Generation", id="ada-6000"
        ),
        pytest.param("NVIDIA GH200 480GB", None, "NVIDIA GH200 480GB", id="host-memory-in-name"),
        pytest.param("Orin", 62 * GIB, "Orin (Jetson AGX Orin 64GB)", id="agx-orin"),
        pytest.param("Orin", 7 * GIB, "Orin (Jetson Orin Nano 8GB)", id="orin-nano"),
        pytest.param("Apple M3 Max", 36 * GIB, "Apple M3 Max (30-core GPU)", id="m3-max-30"),
        pytest.param("Apple M3 Max", 128 * GIB, "Apple M3 Max (40-core GPU)", id="m3-max-40"),
        pytest.param("Apple M3 Max", 72 * GIB, "Apple M3 Max (30-core GPU)", id="metal-s-grant"),
        pytest.param("Radeon RX 7900 XT", None, "AMD Radeon RX 7900 XT", id="xt-is-not-xtx"),
        pytest.param(
            "Radeon 8060S Graphics", None, "AMD Radeon 8060S (Ryzen AI Max+ 395)", id="igpu"
        ),
        pytest.param("910B4", None, "Ascend 910B4", id="as-npu-smi-says"),
        pytest.param("Intel Arc A770 Graphics", None, "Intel(R) Arc(TM) A770 Graphics", id="marks"),
    ],
)  # fmt: skip
def test_a_reported_name_leads_to_its_product(reported: str, vram: int | None, name: str) -> None:
    assert name_of(reported, vram) == name


@pytest.mark.parametrize(
    "reported",
    [
        pytest.param("", id="empty"),
        pytest.param("NVIDIA GeForce RTX 9990", id="no-such-card"),
        pytest.param("NVIDIA GeForce GTX 1060 3GB", id="another-version-s-memory"),
        pytest.param("NVIDIA A100-SXM4-40GB MIG 1g.5gb", id="slice-has-not-the-card-s-bandwidth"),
        pytest.param("NVIDIA A10-8Q", id="vgpu"),
        pytest.param("NVIDIA GeForce RTX 2080 with Max-Q Design", id="max-q"),
        pytest.param("Tesla V100-SXM3-32GB", id="form-factor-not-listed"),
    ],
)
def test_what_is_not_in_the_catalogue_is_unknown(reported: str) -> None:
    assert accelerator_facts(reported) is None


def test_a_card_that_ollama_refuses_is_known_as_such() -> None:
    facts = accelerator_facts("NVIDIA GeForce GT 710")
    assert facts is not None
    assert (facts.compute_capability, facts.ollama_supported) == ("3.5", False)


def test_unified_memory_and_amd_architectures_are_told() -> None:
    gb10, xtx = accelerator_facts("NVIDIA GB10"), accelerator_facts("AMD Radeon RX 7900 XTX")
    assert gb10 is not None
    assert xtx is not None
    assert gb10.unified_memory
    assert (xtx.gfx, xtx.compute_capability, xtx.unified_memory) == ("gfx1100", None, False)


def test_vendors_are_those_of_the_machine_document() -> None:
    assert len(ROWS) == 183
    assert {row["vendor"] for row in ROWS} <= set(get_args(Vendor))
