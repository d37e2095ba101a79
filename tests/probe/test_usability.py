from typing import Any

import pytest

from orchestrator.machine import Accelerator
from orchestrator.usability import EMBEDDED, judged, usability, visible

GIB = 2**30


def card(index: int = 0, **facts: Any) -> Accelerator:
    known: dict[str, Any] = {
        "vendor": "nvidia",
        "name": "NVIDIA GeForce RTX 3090",
        "uuid": f"GPU-{index}a",
        "memory_total_bytes": 24 * GIB,
        "memory_free_bytes": 23 * GIB,
        "compute_capability": "8.6",
        "driver": "570.86",
    }
    return Accelerator(index=index, **(known | facts))


@pytest.mark.parametrize(
    ("facts", "version", "reason"),
    [
        pytest.param({}, "0.33.0", None, id="a-current-card-on-a-current-server"),
        pytest.param({}, None, None, id="no-server-yet"),
        pytest.param(
            {"compute_capability": "3.5"}, "0.9.3", "3.5 is below 5.0, which Ollama", id="kepler"
        ),
        pytest.param({"compute_capability": "5.0"}, "0.9.3", None, id="5.0-is-enough"),
        pytest.param({"compute_capability": None}, "0.33.0", None, id="capability-unknown"),
        pytest.param({"compute_capability": "12.1"}, "0.33.0", None, id="two-digit-major"),
        pytest.param(
            {"driver": "530.30"}, "0.9.3", "530.30 is too old: Ollama needs 531", id="530"
        ),
        pytest.param({"driver": "531.00"}, "0.9.3", None, id="531-for-0.9.3"),
        pytest.param({"driver": "549.9"}, "0.30.0", "Ollama needs 550", id="549-for-0.30"),
        pytest.param({"driver": "550.144.03"}, "0.30.0", None, id="550-for-0.30"),
        pytest.param({"driver": "549.9"}, "0.24.0", None, id="549-for-0.24"),
        pytest.param({"driver": "549.9"}, None, "Ollama needs 550", id="no-server-is-the-newest"),
        pytest.param({"driver": "549.9"}, "0.0.0", "Ollama needs 550", id="built-from-source"),
        pytest.param({"driver": "549.9"}, "v0.33.0-rc2", "needs 550", id="a-pre-release"),
        pytest.param({"driver": None}, "0.33.0", None, id="driver-unknown"),
        pytest.param(
            {"compute_capability": "6.1", "driver": "560.35"},
            "0.33.0",
            "needs 570 or newer for compute capability 6.1",
            id="pascal-needs-570",
        ),
        pytest.param(
            {"compute_capability": "6.2", "driver": "569"}, "0.33.0", "570", id="6.2-needs-570"
        ),
        pytest.param(
            {"compute_capability": "7.0", "driver": "560.35"}, "0.33.0", None, id="volta-does-not"
        ),
        pytest.param(
            {"compute_capability": "6.1", "driver": "570.86"}, "0.33.0", None, id="pascal-with-570"
        ),
        pytest.param({"memory_total_bytes": None}, "0.33.0", "how much memory", id="no-memory"),
        pytest.param(
            {"memory_total_bytes": None, "unified_memory": True}, "0.33.0", None, id="unified"
        ),
        pytest.param({"vendor": "ascend"}, "0.33.0", "no backend for Ascend", id="ascend"),
        pytest.param({"vendor": "other"}, "0.33.0", "no backend for this vendor", id="other"),
        pytest.param({"vendor": "intel"}, "0.33.0", "Vulkan", id="intel"),
        pytest.param({"vendor": "apple"}, "0.33.0", None, id="apple"),
        pytest.param({"vendor": "amd", "gfx": "gfx1100"}, "0.33.0", None, id="rdna3"),
        pytest.param({"vendor": "amd", "gfx": "gfx1010"}, "0.33.0", "gfx1010", id="rdna1"),
        pytest.param({"vendor": "amd", "gfx": "gfx1010"}, "0.9.3", None, id="rdna1-on-rocm-6"),
    ],
)
def test_the_reason_names_the_number_and_the_limit(
    facts: dict[str, Any], version: str | None, reason: str | None
) -> None:
    told = usability(card(**facts), server_version=version)
    assert (told is None) if reason is None else (told is not None and reason in told)


@pytest.mark.parametrize("vendor", ["nvidia", "amd", "apple"])
def test_the_embedded_runtime_uses_no_accelerator(vendor: str) -> None:
    told = usability(card(vendor=vendor), server_version="0.9.3", server_runtime="embedded")
    assert told == EMBEDDED


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        pytest.param("0,1,2", [0, 1, 2], id="all"),
        pytest.param("2,0", [2, 0], id="its-own-order"),
        pytest.param("", [], id="empty-hides-all"),
        pytest.param("-1", [], id="minus-one-hides-all"),
        pytest.param("none", [], id="none"),
        pytest.param("1,9,0", [1], id="stops-at-the-first-invalid"),
        pytest.param("1,-1,0", [1], id="minus-one-ends-the-list"),
        pytest.param("1,1", [1], id="named-twice"),
        pytest.param("GPU-1a", [1], id="uuid"),
        pytest.param("GPU-1", [1], id="start-of-a-uuid"),
        pytest.param("GPU-", [], id="an-ambiguous-start"),
        pytest.param("MIG-x", [3], id="slice"),
        pytest.param("MIG-", [], id="a-slice-needs-its-whole-uuid"),
        pytest.param("3", [], id="an-index-names-no-slice"),
        pytest.param(" 0 , 2 ", [0, 2], id="spaces"),
    ],
)
def test_a_mask_is_read_as_cuda_reads_it(mask: str, shown: list[int]) -> None:
    cards = [card(0), card(1), card(2), card(3, uuid="MIG-x")]
    assert [a.index for a in visible(mask, cards)] == shown


def test_the_servers_mask_leaves_cards_out() -> None:
    first, second = judged([card(0), card(1)], server_version="0.9.3", visible_devices="1")
    assert second.usable
    assert first.unusable_reason == "the server's CUDA_VISIBLE_DEVICES='1' leaves it out"


def test_an_empty_mask_leaves_every_card_out() -> None:
    assert not judged([card()], server_version="0.9.3", visible_devices="")[0].usable


def test_what_the_probe_found_unusable_keeps_its_reason() -> None:
    lost = card(usable=False, unusable_reason="lost")
    assert judged([lost], server_version="0.9.3", visible_devices="") == (lost,)


def test_only_the_largest_mig_slice_is_usable() -> None:
    slices = [card(n, uuid=f"MIG-{n}", memory_free_bytes=n * GIB) for n in (1, 3, 2)]
    found = judged(slices, server_version="0.33.0")
    assert [a.usable for a in found] == [False, True, False]
    assert "MIG-3 has more free" in (found[0].unusable_reason or "")


def test_two_whole_cards_are_both_usable() -> None:
    assert all(a.usable for a in judged([card(0), card(1)], server_version="0.33.0"))


def test_a_model_runs_on_the_cards_of_one_vendor() -> None:
    def amd(index: int) -> Accelerator:
        half = {"memory_total_bytes": 16 * GIB, "memory_free_bytes": 16 * GIB}
        return card(index, vendor="amd", gfx="gfx1100", compute_capability=None, **half)

    cards = (
        card(0),
        amd(0),
        amd(1),
    )
    found = judged(cards, server_version="0.33.0")
    assert [a.usable for a in found] == [False, True, True]
    assert "one vendor" in (found[0].unusable_reason or "")


def test_a_card_without_memory_is_no_card() -> None:
    found = judged((card(memory_total_bytes=0, memory_free_bytes=0),), server_version="0.33.0")
    assert found[0].unusable_reason == "it has no memory"
