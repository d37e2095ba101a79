"""What counts in a window, and what a level says of it: made-up moments, so every sum is known."""

import dataclasses
from typing import Any

import pytest

from orchestrator.bench.level import Request, Window, level
from orchestrator.bench.noise import Noise
from orchestrator.server import Done, Piece

_TOKENS = 10
_QUIET = Noise()
_WINDOW = Window(opened_s=100.0, closed_s=110.0)


def _done(**changes: Any) -> Done:
    base: dict[str, Any] = {
        "reason": "length",
        "prompt_eval_count": 16,
        "prompt_eval_s": 0.5,
        "eval_count": _TOKENS,
        "eval_s": 0.9,
        "load_s": 0.1,
        "total_s": 2.0,
    }
    return Done(**base | changes)


def _request(sent_s: float, *, first_s: float, each_s: float = 0.1, **done: Any) -> Request:
    """Return a request whose tokens come one a chunk, `each_s` apart."""
    found = Request(sent_s=sent_s)
    for n in range(_TOKENS):
        found.see(Piece(at_s=first_s + n * each_s, text=" a", thinking="", done=None))
    end_s = first_s + (_TOKENS - 1) * each_s
    found.see(Piece(at_s=end_s, text="", thinking="", done=_done(**done)))
    return found


def _cut(request: Request, at_s: float) -> Request:
    """Return the request as if it had been cancelled."""
    chunks = [at for at in request.chunks_s if at < at_s]
    return dataclasses.replace(request, chunks_s=chunks, done=None, ended_s=None)


def _level(
    *requests: Request, users: int = 1, parallel: int | None = 4, noise: Noise = _QUIET
) -> Any:
    return level(
        requests,
        users=users,
        parallel=parallel,
        window=_WINDOW,
        tokens=_TOKENS,
        noise=noise,
    )


def test_only_tokens_that_arrive_in_the_window_count() -> None:
    early = _request(98.0, first_s=99.55)  # five of its ten before
    within = _request(101.0, first_s=102.0)
    late = _cut(_request(108.0, first_s=109.75), 110.0)  # three of its ten, then cancelled

    found = _level(early, within, late)

    assert found.tokens == 5 + 10 + 3
    assert found.aggregate_tps == pytest.approx(1.8)
    assert found.requests == 2


def test_a_chunk_of_several_tokens_counts_as_many_as_the_server_says() -> None:
    double = _request(101.0, first_s=102.0, eval_count=2 * _TOKENS)
    cut = _cut(_request(108.0, first_s=109.75), 110.0)

    assert _level(double).tokens == 20
    assert _level(double, cut).tokens == 20 + 2 * 3  # one that did not end is taken for like them


def test_the_aggregate_is_no_sum_of_rates() -> None:
    rates = _level(*(_request(101 + n, first_s=102.0 + n) for n in range(4)), users=4)

    assert rates.per_user_tps.median == pytest.approx(9 / 0.9)
    assert rates.aggregate_tps == pytest.approx(4.0)


def test_only_answers_of_full_length_have_a_rate() -> None:
    short = _request(103.0, first_s=104.0, eval_count=4, reason="stop")
    stopped = _request(104.0, first_s=105.0, reason="stop")
    guarded = dataclasses.replace(_request(105.0, first_s=106.0), done=None)

    found = _level(_request(101.0, first_s=102.0), short, stopped, guarded)

    assert found.requests == 4
    assert (found.per_user_tps.n, found.per_user_tps.rejected) == (1, 3)


def test_time_to_first_token_holds_the_wait_and_the_share_of_it_is_told() -> None:
    waited = _request(101.0, first_s=104.6)  # 3.6 s, of which 0.6 s load and prefill; 4.5 s in all
    served = _request(105.0, first_s=105.2)  # sooner than the server's own times: no wait

    found = _level(waited, served, users=2)

    assert found.ttft_s.median == pytest.approx((3.6 + 0.2) / 2)
    assert found.queue_share == pytest.approx(3.0 / (4.5 + 1.1))


def test_requests_that_found_the_slots_empty_say_nothing_of_the_queue() -> None:
    first = _request(99.0, first_s=99.8)

    assert first.ended_s
    assert _WINDOW.holds(first.ended_s)
    assert _level(first).queue_share is None


def test_a_server_that_tells_no_prefill_time_leaves_the_queue_unknown() -> None:
    assert _level(_request(101.0, first_s=102.0, prompt_eval_s=None)).queue_share is None


def test_a_percentile_needs_ten_samples_beyond_it() -> None:
    many = [
        _request(101 + n / 20, first_s=101 + n / 20 + n / 1000, each_s=1e-3) for n in range(100)
    ]

    assert _level(*many[:99]).ttft_p90_s is None
    assert _level(*many).ttft_p90_s == pytest.approx(0.089)


def test_what_ran_side_by_side_is_one_round_and_two_rounds_give_no_interval() -> None:
    # Four slots, each wave of four at a pace of its own.
    waves = [
        _request(100.5 + wave, first_s=101.0 + wave + slot / 100, eval_s=0.9 + wave / 10)
        for wave in range(3)
        for slot in range(4)
    ]

    two = _level(*waves[:8], users=8).per_user_tps
    three = _level(*waves, users=8).per_user_tps

    assert (two.n, two.ci_low, two.ci_high) == (8, None, None)
    assert (three.ci_low, three.ci_high) == (pytest.approx(9 / 1.1), pytest.approx(9 / 0.9))


@pytest.mark.parametrize(
    ("users", "parallel", "queued"), [(4, 4, False), (5, 4, True), (5, None, None)]
)
def test_more_users_than_slots_are_queued(
    users: int, parallel: int | None, queued: bool | None
) -> None:
    assert _level(_request(101.0, first_s=102.0), users=users, parallel=parallel).queued is queued


@pytest.mark.parametrize(
    ("noise", "noisy"),
    [
        (Noise(), False),
        (Noise(foreign_cpu=0.09, steal=0.01), False),
        (Noise(foreign_cpu=0.1), True),
        (Noise(steal=0.2), True),
    ],
)
def test_a_busy_box_makes_a_level_noisy(noise: Noise, noisy: bool) -> None:
    assert _level(_request(101.0, first_s=102.0), noise=noise).noisy is noisy


def test_a_window_without_anything_says_so() -> None:
    found = _level(_request(90.0, first_s=91.0))

    assert (found.requests, found.tokens, found.aggregate_tps) == (0, 0, 0)
    assert (found.per_user_tps, found.ttft_s, found.queue_share) == (None, None, None)
