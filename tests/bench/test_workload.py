"""Prompts that no two are alike, and sizes that fit the time and the context."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.bench.calibration import WORDS, Calibration
from orchestrator.bench.effort import EFFORTS
from orchestrator.bench.sizing import sized
from orchestrator.bench.workload import Prompts, Workload
from orchestrator.errors import InvalidInput

EXACT = Calibration(words=WORDS[:32], bos_tokens=1, tokens_per_word=1, exact=True)
INEXACT = Calibration(words=WORDS[:32], bos_tokens=1, tokens_per_word=1, exact=False)


def _sized(
    prefill: float, decode: float, num_ctx: int = 4096, effort: str = "validate"
) -> Workload:
    return sized(
        prefill_tps=prefill,
        decode_tps=decode,
        num_ctx=num_ctx,
        calibration=EXACT,
        effort=EFFORTS[effort],
    )


@settings(deadline=None)  # other tests may hold the processors
@given(st.integers(0, 2**31), st.integers(5, 600))
def test_prompts_are_as_long_as_asked_and_start_unlike_those_before(seed: int, n: int) -> None:
    prompts = Prompts(EXACT, seed)

    texts = [prompts.draw(n) for _ in range(40)]

    assert all(len(t.split()) == n - 1 for t in texts)
    assert len(set(texts)) == len(texts)
    firsts = [t.split()[0] for t in texts]
    assert len(set(firsts[:32])) == 32
    assert firsts[32:] == firsts[:8]


def test_a_seed_gives_its_prompts_again_and_no_others() -> None:
    one, same, other = (Prompts(EXACT, seed) for seed in (7, 7, 8))

    assert [one.draw(64) for _ in range(5)] == [same.draw(64) for _ in range(5)]
    assert one.draw(64) != other.draw(64)


def test_when_no_unlike_prompt_is_left_it_says_so() -> None:
    few = Calibration(words=WORDS[:4], bos_tokens=0, tokens_per_word=1, exact=True)
    prompts = Prompts(few, 1)
    assert len({prompts.draw(1) for _ in range(4)}) == 4

    with pytest.raises(InvalidInput, match="unlike"):
        prompts.draw(1)


@pytest.mark.parametrize(
    ("prefill", "decode", "effort", "shape", "samples"),
    [
        pytest.param(4.7, 3.5, "validate", (32, 16), 3, id="two-slow-cores"),
        pytest.param(0.5, 0.4, "validate", (32, 16), 3, id="hopeless-is-still-measured"),
        pytest.param(20, 10, "validate", (64, 64), 3, id="a-good-cpu"),
        pytest.param(57, 37, "validate", (256, 64), 5, id="a-small-model"),
        pytest.param(2000, 50, "validate", (512, 128), 5, id="a-gpu"),
        pytest.param(4.7, 3.5, "quick", (32, 32), 5, id="quick-on-two-slow-cores"),
        pytest.param(20, 12, "quick", (32, 32), 5, id="quick-takes-a-minute"),
        pytest.param(57, 37, "quick", (128, 64), 5, id="quick-takes-what-fits"),
        pytest.param(2000, 50, "default", (512, 128), 10, id="default-takes-ten"),
    ],
)
def test_sizes(
    prefill: float, decode: float, effort: str, shape: tuple[int, int], samples: int
) -> None:
    plan = _sized(prefill, decode, effort=effort)

    assert (plan.prompt_tokens, plan.generate_tokens) == shape
    assert plan.samples == samples
    assert plan.warmups == 1


def test_validating_the_slowest_box_takes_less_than_a_minute() -> None:
    assert 20 < _sized(4.7, 3.5).expected_s + 48 / 4.7 < 60


def test_a_small_context_takes_a_smaller_shape() -> None:
    plan = _sized(2000, 50, num_ctx=256)

    assert (plan.prompt_tokens, plan.generate_tokens) == (128, 64)


def test_a_context_without_room_is_refused_with_what_it_needs() -> None:
    with pytest.raises(InvalidInput, match="context of 40") as refused:
        _sized(2000, 50, num_ctx=40)
    assert "48" in refused.value.hint


def test_prompts_that_may_come_out_longer_need_more_room() -> None:
    fits = Workload(prompt_tokens=100, generate_tokens=28, samples=1, calibration=EXACT)
    may_not = Workload(prompt_tokens=100, generate_tokens=28, samples=1, calibration=INEXACT)

    fits.check(128)
    with pytest.raises(InvalidInput):
        may_not.check(128)


@pytest.mark.parametrize(("prefill", "decode"), [(0, 1), (1, 0), (-1, 1)])
def test_a_rate_must_be_positive(prefill: float, decode: float) -> None:
    with pytest.raises(InvalidInput, match="positive"):
        _sized(prefill, decode)


@settings(deadline=None)  # other tests may hold the processors
@given(
    st.floats(0.1, 1e5), st.floats(0.1, 1e4), st.integers(160, 131072), st.sampled_from([*EFFORTS])
)
def test_every_size_fits_context_and_effort(
    prefill: float, decode: float, num_ctx: int, effort: str
) -> None:
    plan, limits = _sized(prefill, decode, num_ctx, effort), EFFORTS[effort]

    assert plan.prompt_tokens + plan.generate_tokens <= num_ctx
    assert limits.min_samples <= plan.samples <= limits.max_samples
    smallest = (plan.prompt_tokens, plan.generate_tokens) == limits.smallest
    assert smallest or plan.expected_s <= limits.share * limits.budget_s
    assert all(c.prompt_tokens + c.generate_tokens <= num_ctx for c in plan.cells)
    assert len({c.shape for c in plan.cells}) == len(plan.cells)
    assert smallest or limits.fill == "always" or plan.total_s <= limits.budget_s
    assert plan.generate_tokens >= 16


@settings(deadline=None)  # other tests may hold the processors
@given(st.floats(0.1, 1e4), st.floats(0.1, 1e3), st.floats(1, 10))
def test_a_faster_model_is_never_measured_with_less(
    prefill: float, decode: float, faster: float
) -> None:
    slow, fast = _sized(prefill, decode), _sized(prefill * faster, decode * faster)

    assert fast.prompt_tokens >= slow.prompt_tokens
    assert fast.generate_tokens >= slow.generate_tokens


def test_the_shapes_beside_the_main_one_are_at_other_depths() -> None:
    plan = _sized(2000, 50, num_ctx=8192, effort="default")

    assert [c.prompt_tokens for c in plan.cells] == [512, 32, 2048]
    assert {c.generate_tokens for c in plan.cells} == {128}
    assert plan.left_out == ()


def test_what_finds_no_room_is_named_with_its_reason() -> None:
    slow = _sized(4.7, 3.5, num_ctx=4096, effort="default")

    assert [c.prompt_tokens for c in slow.cells] == [64, 32]
    assert slow.left_out[0].startswith("prompts of 2048 tokens: about 7 min")
    small = _sized(2000, 50, num_ctx=2048, effort="default")
    assert small.left_out == ("prompts of 2048 tokens: the context has 2048",)


def test_the_context_is_filled_to_nine_tenths_at_least() -> None:
    fill = _sized(2000, 50, num_ctx=8192, effort="quick").fill

    assert fill is not None
    assert 0.9 * 8192 <= fill.prompt_tokens + fill.generate_tokens <= 8192


def test_a_full_measurement_fills_the_context_whatever_it_takes() -> None:
    assert _sized(4.7, 3.5, num_ctx=32768, effort="full").fill_s > 3600
    assert _sized(4.7, 3.5, num_ctx=32768, effort="default").fill_s == 0.0
    assert _sized(4.7, 3.5, num_ctx=32768, effort="default").fill_limit_s == 150


@pytest.mark.parametrize(
    ("like", "taken"),
    [
        pytest.param((256, 64), (256, 64), id="a-longer-one-within-twice-the-time"),
        pytest.param((64, 64), (64, 64), id="a-shorter-one"),
        pytest.param((8192, 128), (128, 64), id="not-what-takes-far-longer"),
        pytest.param((4096, 128), (128, 64), id="not-what-the-context-has-no-room-for"),
    ],
)
def test_the_shape_of_earlier_runs_is_taken_again(
    like: tuple[int, int], taken: tuple[int, int]
) -> None:
    plan = sized(
        prefill_tps=57,
        decode_tps=37,
        num_ctx=4096,
        calibration=EXACT,
        effort=EFFORTS["quick"],
        like=like,
    )
    assert plan.main.shape == taken
