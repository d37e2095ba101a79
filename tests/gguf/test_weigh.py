"""What a candidate's parts weigh, and how its size was known."""

import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput
from orchestrator.gguf.layout import laid_out
from orchestrator.gguf.weigh import file_bytes_of, header_bytes, scaled, weights_of
from orchestrator.model import Candidate, Weights
from orchestrator.units import MIB
from tests.shapes import CATALOG, uneven

R1_7B = CATALOG.find("deepseek-r1:7b")  # size known exactly
QWEN3_Q8 = CATALOG.find("qwen3:8b-q8_0")  # size only listed: 8.9GB


def parts(found: Weights) -> int:
    beside = found.embedding_bytes + found.output_bytes + found.vision_bytes + found.draft_bytes
    return sum(found.per_layer_bytes) + beside


def test_every_file_of_the_catalogue_is_weighed_and_its_parts_sum_up() -> None:
    for c in CATALOG.candidates:
        found = weights_of(c)
        assert parts(found) == found.total_bytes < c.file_bytes * 1.06
        assert len(found.per_layer_bytes) == c.architecture.block_count
        assert min(found.per_layer_bytes) > 0
        assert (found.vision_bytes > 0) is (c.architecture.vision_block_count > 0)
        assert (found.draft_bytes > 0) is (c.architecture.draft_block_count > 0)


def test_the_basis_says_how_the_size_is_known() -> None:
    gguf = [c for c in CATALOG.candidates if c.format == "gguf"]
    assert Counter(weights_of(c).basis for c in gguf) == {"exact": 74, "layout": 1166, "listed": 1}


def test_a_header_goes_before_everything() -> None:
    own = uneven(R1_7B.architecture, [1, 2], 3, 4)
    assert weights_of(replace(R1_7B, weights=own)) is own


def test_the_published_7b_to_the_byte() -> None:
    found = weights_of(R1_7B)
    assert found.total_bytes == 4_677_120_000
    assert found.embedding_bytes == 152064 * 3584 * 144 // 256
    assert found.output_bytes == 152064 * 3584 * 210 // 256 + 4 * 3584
    # Half of the layers hold attn_v and ffn_down at Q6_K: the first and last 3, a third between.
    assert Counter(found.per_layer_bytes) == {131_135_488: 14, 149_112_832: 14}


@pytest.mark.parametrize(
    ("changed", "basis"),
    [
        pytest.param({}, "exact", id="as-computed"),
        pytest.param({"tensor_bytes": None}, "exact", id="header-plausible"),
        pytest.param({"tensor_bytes": None, "file_bytes": 4_678_000_000}, "exact", id="short"),
        pytest.param({"tensor_bytes": None, "file_bytes": 4_677_120_000}, "listed", id="no-header"),
        pytest.param({"tensor_bytes": None, "file_bytes": 4_720_000_000}, "listed", id="too-long"),
        pytest.param({"tensor_bytes": 4_677_120_032}, "listed", id="other-tensors"),
        pytest.param({"bytes_basis": "layout", "tensor_bytes": 1}, "layout", id="requantized"),
    ],
)
def test_a_size_that_is_known_must_agree(changed: dict[str, int | str], basis: str) -> None:
    found = weights_of(replace(R1_7B, **changed))  # type: ignore[arg-type]
    assert found.basis == basis
    assert parts(found) == found.total_bytes
    wanted = changed.get("tensor_bytes") if basis == "listed" else None
    assert wanted in (None, found.total_bytes)


@pytest.mark.parametrize(
    ("listed", "basis"),
    [
        pytest.param(8_900_000_000, "layout", id="as-listed"),
        pytest.param(8_800_000_000, "listed", id="a-step-less"),
        pytest.param(9_000_000_000, "listed", id="a-step-more"),
    ],
)
def test_a_listed_size_must_agree_within_its_rounding(listed: int, basis: str) -> None:
    found = weights_of(replace(QWEN3_Q8, file_bytes=listed))
    assert found.basis == basis
    if basis == "listed":
        assert found.total_bytes == listed - header_bytes(QWEN3_Q8.architecture)


@pytest.mark.parametrize(
    ("tag", "listed", "agrees"),
    [
        pytest.param("qwen3:0.6b-q8_0", 831_000_000, True, id="MB"),
        pytest.param("qwen3:0.6b-q8_0", 829_000_000, False, id="MB-apart"),
        pytest.param("qwen3:14b-q8_0", 16_000_000_000, True, id="whole-GB"),
        pytest.param("qwen3:14b-q8_0", 17_000_000_000, False, id="whole-GB-apart"),
        pytest.param("deepseek-r1:671b-fp16", 1_300_000_000_000, True, id="TB"),
        pytest.param("deepseek-r1:671b-fp16", 1_200_000_000_000, False, id="TB-apart"),
    ],
)
def test_sizes_are_rounded_by_their_magnitude(tag: str, listed: int, agrees: bool) -> None:
    found = weights_of(replace(CATALOG.find(tag), file_bytes=listed))
    assert (found.basis == "layout") is agrees


def test_a_file_of_another_format_keeps_its_listed_size() -> None:
    other = next(c for c in CATALOG.candidates if c.format != "gguf")
    found = weights_of(other)
    assert found.basis == "listed"
    assert found.total_bytes == other.file_bytes - header_bytes(other.architecture)


def test_an_architecture_that_is_not_known_is_refused() -> None:
    odd = replace(R1_7B, architecture=replace(R1_7B.architecture, name="gemma3"))
    with pytest.raises(InvalidInput, match="gemma3"):
        weights_of(odd)


@given(total=st.integers(0, 2**45), candidate=st.sampled_from([R1_7B, QWEN3_Q8]))
def test_scaled_parts_sum_to_the_wanted_total(total: int, candidate: Candidate) -> None:
    found = scaled(laid_out(candidate.architecture, candidate.quantization), total)
    assert found.total_bytes == total == parts(found)
    assert min(*found.per_layer_bytes, found.embedding_bytes, found.output_bytes) >= 0


def test_headers_are_about_as_long_as_the_known_ones() -> None:
    for c in CATALOG.candidates:
        known = CATALOG.facts(c).header_bytes
        if known is not None:
            assert abs(header_bytes(c.architecture) - known) < 10 * MIB


def test_a_plan_weighs_its_candidates_in_a_blink() -> None:
    laid_out.cache_clear()
    chat = [c for c in CATALOG.candidates if c.kind == "chat" and c.format == "gguf"]
    started = time.process_time()
    for c in chat:
        weights_of(c)
    assert (time.process_time() - started) / len(chat) < 0.0006  # 0.1 ms on an idle core


@pytest.mark.parametrize(
    ("tag", "least", "most"),
    [
        ("deepseek-r1:671b-fp16", 1.340e12, 1.345e12),  # listed as 1.3TB
        ("deepseek-r1:7b-qwen-distill-fp16", 15.2e9, 15.3e9),  # listed as 15GB
    ],
)
def test_a_listed_download_is_as_large_as_its_layout(tag: str, least: float, most: float) -> None:
    assert least < file_bytes_of(CATALOG.find(tag)) < most


def test_an_exact_download_stays_as_it_is_known() -> None:
    assert file_bytes_of(R1_7B) == R1_7B.file_bytes == 4683073184
