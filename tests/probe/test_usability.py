from typing import Any

import pytest

from orchestrator.machine import Accelerator
from orchestrator.usability import EMBEDDED, amd_visible, judged, usability, visible

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
        pytest.param(
            {"compute_capability": "8.7", "driver": "540.4.0"}, "0.33.0", None, id="jetson-orin"
        ),
        pytest.param({"driver": "9" * 5000}, "0.33.0", None, id="a-driver-without-end"),
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
    assert (told is None) if reason is None else (told is not None and reason in told.text)


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
        pytest.param("9" * 5000, [], id="a-number-without-end"),
        pytest.param("\u0661", [], id="digits-of-another-script"),
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
    told = "the server's CUDA_VISIBLE_DEVICES='1' leaves it out: take the variable out of the"
    assert (first.unusable_reason or "").startswith(told)
    assert (first.unusable_reason or "").endswith(f": {first.remedy}")


def test_an_empty_mask_leaves_every_card_out() -> None:
    assert not judged([card()], server_version="0.9.3", visible_devices="")[0].usable


@pytest.mark.parametrize(
    ("facts", "server", "remedy"),
    [
        pytest.param({"driver": "549.9"}, {}, "upgrade the driver to 550 or newer", id="driver"),
        pytest.param({"compute_capability": "3.5"}, {}, None, id="kepler"),
        pytest.param(
            {}, {"visible_devices": ""},
            "take the variable out of the server's environment, if that is not meant", id="masked",
        ),
        pytest.param({}, {"server_runtime": "embedded"}, EMBEDDED.remedy, id="embedded"),
    ],
)  # fmt: skip
def test_what_can_be_done_is_told_apart_and_ends_the_reason(
    facts: dict[str, Any], server: dict[str, Any], remedy: str | None
) -> None:
    (found,) = judged([card(**facts)], server_version="0.33.0", **server)
    assert found.remedy == remedy
    assert (found.unusable_reason or "").endswith(remedy or "needs")


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


def test_memory_of_its_own_goes_before_a_larger_pool_that_is_the_hosts() -> None:
    pool = {"memory_total_bytes": 62 * GIB, "memory_free_bytes": 62 * GIB}
    shares = amd(gfx="gfx1151", unified_memory=True, **pool)
    own, left = judged([card(), shares], server_version="0.33.0")
    assert own.usable
    assert "those of nvidia have memory of their own" in (left.unusable_reason or "")

    old = card(compute_capability="3.5")
    assert [a.usable for a in judged([old, shares], server_version="0.33.0")] == [False, True]

    beside = amd(1, memory_free_bytes=GIB)
    same = judged([shares, beside], server_version="0.33.0")
    assert [a.usable for a in same] == [True, True], "one vendor's run together"


def test_a_card_without_memory_is_no_card() -> None:
    found = judged((card(memory_total_bytes=0, memory_free_bytes=0),), server_version="0.33.0")
    assert found[0].unusable_reason == "it has no memory"


def amd(index: int = 0, **facts: Any) -> Accelerator:
    known: dict[str, Any] = {
        "vendor": "amd",
        "name": "AMD Radeon RX 7900 XTX",
        "uuid": f"GPU-{index}b",
        "compute_capability": None,
        "driver": None,
        "gfx": "gfx1100",
    }
    return card(index, **(known | facts))


@pytest.mark.parametrize(
    ("gfx", "version", "reason"),
    [
        pytest.param("gfx906", "0.9.3", None, id="vega-20-on-the-first-rocm-6"),
        pytest.param("gfx906", "0.13.0", "ROCm 6 build", id="vega-20-is-dropped"),
        pytest.param("gfx1012", "0.17.7", None, id="rdna1-on-rocm-6"),
        pytest.param("gfx950", "0.17.7", "gfx950", id="mi350-needs-rocm-7"),
        pytest.param("gfx950", "0.18.0", None, id="mi350-on-rocm-7"),
        pytest.param("gfx1103", "0.24.0", None, id="the-last-with-gfx1103"),
        pytest.param("gfx1103", "0.30.0", "ROCm 7 build", id="gfx1103-is-dropped"),
        pytest.param("gfx1150", "0.30.0", None, id="gfx1150"),
        pytest.param(
            "gfx1034", None, "HSA_OVERRIDE_GFX_VERSION=10.3.0, which may", id="a-relative-runs"
        ),
        pytest.param(None, None, None, id="architecture-unknown"),
    ],
)
def test_each_rocm_build_has_kernels_for_its_own_architectures(
    gfx: str | None, version: str | None, reason: str | None
) -> None:
    told = usability(amd(gfx=gfx), server_version=version)
    assert (told is None) if reason is None else (told is not None and reason in told.text)


@pytest.mark.parametrize(
    ("override", "version", "usable"),
    [
        pytest.param("10.3.0", None, True, id="as-a-card-that-is-built-for"),
        pytest.param("gfx1030", None, True, id="by-name"),
        pytest.param(" 9.0.10 ", None, True, id="the-last-two-are-hexadecimal"),
        pytest.param("10.3.1", None, False, id="as-one-that-is-not"),
        pytest.param("10.3.1", "0.9.3", True, id="0.9.3-does-not-check"),
        pytest.param("10.3", None, False, id="no-version-changes-nothing"),
        pytest.param("10.3.99", None, False, id="no-architecture-changes-nothing"),
        pytest.param("", "0.9.3", False, id="empty-is-unset"),
    ],
)
def test_an_override_is_taken_for_what_the_card_is(
    override: str, version: str | None, usable: bool
) -> None:
    told = usability(amd(gfx="gfx1031"), server_version=version, gfx_override=override)
    assert (told is None) is usable


def test_minor_and_stepping_of_an_override_become_hexadecimal() -> None:
    told = usability(amd(), server_version=None, gfx_override="9.10.11")
    assert told is not None
    assert told.what.startswith("gfx9ab ")


@pytest.mark.parametrize(
    ("facts", "version", "enable", "reason"),
    [
        pytest.param({"gfx": "gfx1151"}, "0.33.0", None, None, id="strix-halo-is-used"),
        pytest.param({"gfx": "gfx1151"}, "0.33.0", False, "IGPU_ENABLE=1", id="unless-forbidden"),
        pytest.param({"gfx": "gfx1150"}, "0.33.0", None, "IGPU_ENABLE=1", id="others-are-not"),
        pytest.param({"gfx": "gfx1150"}, "0.33.0", True, None, id="unless-allowed"),
        pytest.param({"gfx": "gfx1151"}, "0.13.0", None, "planned as a CPU", id="before-0.30"),
        pytest.param({"gfx": "gfx942"}, "0.33.0", None, None, id="mi300a-is-no-small-gpu"),
        pytest.param(
            {"gfx": "gfx1150", "unified_memory": False},
            "0.33.0",
            None,
            None,
            id="memory-of-its-own",
        ),
    ],
)
def test_gpus_in_processors_are_left_to_the_cpu(
    facts: dict[str, Any], version: str, enable: bool | None, reason: str | None
) -> None:
    gpu = amd(**({"unified_memory": True} | facts))
    told = usability(gpu, server_version=version, igpu_enable=enable)
    assert (told is None) if reason is None else (told is not None and reason in told.text)


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        pytest.param("0,1", [0, 1], id="all"),
        pytest.param("1, 0", [1, 0], id="its-own-order"),
        pytest.param("", [], id="empty-hides-all"),
        pytest.param("-1", [], id="minus-one-hides-all"),
        pytest.param("1,7,0", [1], id="stops-at-the-first-invalid"),
        pytest.param("1,1", [1], id="named-twice"),
        pytest.param("GPU-1b", [1], id="uuid"),
        pytest.param("GPU-", [], id="an-ambiguous-start"),
        pytest.param("²", [], id="no-number"),
    ],
)
def test_a_mask_of_rocm_is_read_as_rocm_reads_it(mask: str, shown: list[int]) -> None:
    assert [a.index for a in amd_visible(mask, [card(0), amd(0), amd(1)])] == shown


def test_the_servers_mask_leaves_amd_cards_out_and_those_of_others_in() -> None:
    first, second = judged([amd(0), amd(1)], server_version=None, amd_visible_devices="1")
    assert second.usable
    told = "the server's ROCR_ or HIP_VISIBLE_DEVICES='1' leaves it out: take"
    assert (first.unusable_reason or "").startswith(told)
    assert judged([card()], server_version=None, amd_visible_devices="")[0].usable


def test_what_has_no_backend_is_told_so_before_its_memory_is_missed() -> None:
    npu = card(vendor="ascend", memory_total_bytes=None, memory_free_bytes=None)
    told = usability(npu, server_version="0.9.3", server_runtime="embedded")
    assert told is not None
    assert "vLLM-Ascend" in told.text
