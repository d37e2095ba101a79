"""The largest context and the most slots: what is named fits, one step more does not."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.explain.case import Case
from orchestrator.explain.solve import (
    MOST_SLOTS,
    STEP_TOKENS,
    largest_context,
    last_that,
    most_slots,
)
from tests.explain.cases import RTX_3060, RTX_4090, case, cases, trained_for
from tests.shapes import box

LAW = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def fits(found: Case) -> Callable[[int], bool]:
    held = found.held(found.answer())
    return lambda tokens: held.at_context(tokens).answer().fits


@given(cases())
@LAW
def test_the_context_fits_and_a_step_more_does_not(found: Case) -> None:
    limit, trained = largest_context(found), found.candidate.architecture.context_length
    if limit.most:
        assert fits(found)(limit.most)
    if limit.cap == "trained":
        assert limit.most == trained
    else:
        assert limit.most < trained
        assert not fits(found)(min(limit.most + STEP_TOKENS, trained))


@given(cases())
@settings(LAW, max_examples=12)
def test_no_larger_context_fits_either(found: Case) -> None:
    """The need is not monotonic everywhere: a step that does not fit is no proof by itself."""
    trained = found.candidate.architecture.context_length
    steps = [*range(STEP_TOKENS, trained, STEP_TOKENS), trained]
    every = max((n for n in steps if fits(found)(n)), default=0)
    assert largest_context(found).most == every


@given(cases())
@LAW
def test_the_slots_fit_and_one_more_does_not(found: Case) -> None:
    limit, answer = most_slots(found), found.answer()
    held = found.held(answer).at_context(answer.fit.estimate.load.run.context)
    if limit.most:
        inside = held.at_slots(limit.most).answer()
        assert inside.fits
        assert inside.fit.estimate.load.run.parallel == limit.most
    if limit.cap == "server":
        assert limit.most == MOST_SLOTS
    else:
        assert not held.at_slots(limit.most + 1).answer().fits


@given(cases(), st.integers(1, 8))
@settings(LAW, max_examples=15)
def test_more_memory_never_shortens_the_reach(found: Case, more_gib: int) -> None:
    """In one placement: more of a GPU may take a model off the CPU, where more context fits."""
    now = found.held(found.answer())
    memory = now.machine.memory
    larger = replace(
        memory,
        total_bytes=memory.total_bytes + (more_gib << 30),
        available_bytes=memory.available_bytes + (more_gib << 30),
    )
    roomier = replace(now, machine=replace(now.machine, memory=larger))
    if roomier.answer().fits:
        assert largest_context(roomier).most >= largest_context(now).most


@pytest.mark.parametrize(
    ("found", "cap", "says"),
    [
        pytest.param(
            case(box(64, RTX_4090, version="0.20.0"), "qwen3:8b"), "trained",
            "trained for 40960", id="the-trained-context",
        ),
        pytest.param(
            case(box(64, RTX_4090, version="0.20.0"), "deepseek-r1:32b"), "memory",
            "places all 65 layers on GPU only with", id="memory-of-the-card",
        ),
        pytest.param(
            case(box(8, version="0.9.3"), "deepseek-r1:7b"), "memory",
            "of host memory", id="memory-of-the-host",
        ),
        pytest.param(
            case(box(64, RTX_3060, version="0.20.0", host={"physical_cores": 32},
                     memory={"bandwidth_bytes_per_s": 9 * 10**10}), "deepseek-r1:32b",
                 context=2048),
            "speed", "the floor of 4", id="the-floor-in-speed",
        ),
    ],
)  # fmt: skip
def test_what_bounds_the_context_is_said(found: Case, cap: str, says: str) -> None:
    limit = largest_context(found)
    assert (limit.cap, says in limit.detail) == (cap, True), limit


def test_the_engine_bounds_slots_that_memory_would_not() -> None:
    found = case(box(2000, version="0.33.0"), "qwen2.5:0.5b", context=256)
    limit = most_slots(found)
    assert (limit.most, limit.cap) == (MOST_SLOTS, "server")


def test_a_model_that_the_server_runs_with_one_slot_has_one() -> None:
    limit = most_slots(case(box(64, RTX_4090, version="0.20.0"), "qwen3-vl:8b"))
    assert (limit.most, limit.cap) == (1, "server")
    assert "one slot" in limit.detail


def test_slots_fixed_by_the_server_do_not_bound_what_a_restart_would_hold() -> None:
    free = box(64, RTX_4090, version="0.20.0")
    fixed = box(64, RTX_4090, version="0.20.0", server={"settings": {"num_parallel": 1}})
    assert most_slots(case(fixed, "qwen3:8b")) == most_slots(case(free, "qwen3:8b"))
    assert most_slots(case(free, "qwen3:8b")).most > 1


def test_a_model_that_fits_nowhere_reaches_nothing() -> None:
    found = case(box(4, version="0.9.3"), "deepseek-r1:70b")
    assert (largest_context(found).most, most_slots(found).most) == (0, 0)
    assert "short by" in largest_context(found).detail


def test_a_model_below_the_floor_still_has_a_reach() -> None:
    found = case(box(64, version="0.9.3", host={"physical_cores": 1}), "deepseek-r1:32b")
    assert found.answer().slow
    assert largest_context(found).most > 4096


def test_a_context_beyond_a_bump_in_the_need_is_found() -> None:
    """Before 0.30 a mask that is freed makes room for feed-forward tensors, and the need falls.

    If no step falls any more, the look ahead has lost its reason.
    """
    found = trained_for(case(box(64, version="0.20.0"), "deepseek-r1:7b"), 32768)
    shape = replace(found.candidate.architecture, vocab_size=512, feed_forward_length=9000)
    found = replace(found, candidate=replace(found.candidate, architecture=shape))
    steps = range(STEP_TOKENS, 32768, STEP_TOKENS)
    needs = [found.at_context(n).answer().fit.estimate.total_bytes for n in steps]
    after = next(n for (n, one), two in zip(enumerate(needs), needs[1:], strict=False) if two < one)
    capped = replace(found.profile, max_memory_bytes=needs[after + 1], min_tps=0.0)
    found = replace(found, profile=capped)
    every = max(n for n in steps if fits(found)(n))
    assert largest_context(found).most == every


def test_a_window_that_is_no_multiple_of_the_step_is_reached_whole() -> None:
    found = trained_for(case(box(64, RTX_4090, version="0.20.0"), "qwen3:8b"), 1000)
    assert largest_context(found).most == 1000


@pytest.mark.parametrize(
    ("fitting", "most", "ahead", "last"),
    [
        pytest.param(range(1, 8), 100, 0, 7, id="the-edge"),
        pytest.param(range(1, 101), 100, 0, 100, id="all"),
        pytest.param((), 100, 5, 0, id="none"),
        pytest.param((1,), 100, 0, 1, id="the-first"),
        pytest.param({*range(1, 8), 10}, 100, 3, 10, id="beyond-a-gap"),
        pytest.param({*range(1, 8), 10, 13}, 100, 3, 13, id="beyond-two-gaps"),
        pytest.param({1, 2, 3, 99}, 100, 3, 3, id="a-gap-wider-than-it-looks"),
        pytest.param((2,), 2, 1, 2, id="the-top-alone"),
    ],
)
def test_the_last_that_fits(fitting: range, most: int, ahead: int, last: int) -> None:
    assert last_that(lambda n: n in fitting, most, ahead) == last
