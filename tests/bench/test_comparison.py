"""Which runs may be compared, what decides, and what the admin is told."""

import statistics
from typing import Any

import jsonschema
import pytest

from orchestrator import schema
from orchestrator.bench.comparison import Comparison, Metric, compared, differs, key
from tests.bench.documents import document

MAIN = (256, 64)
Document = dict[str, Any]


def _run(
    number: int | None, tps: float = 40.0, outcome: str | None = None, **more: Any
) -> Document:
    """Return a run with a number; `outcome` of its comparison, None: it was not compared."""
    found = document(decode_tps=tps, **{"id": number, **more})
    if outcome:
        found["comparison"] = {"outcome": outcome}
    return found


def _good(count: int = 10, first: int = 1) -> list[Document]:
    return [_run(first + n, 40 + 0.1 * (n % 3)) for n in range(count)]


def _compared(*newest: Document, **more: Any) -> Comparison:
    return compared(newest, **{"rolling": _good(), "pinned": None, **more})


def _of(found: Comparison, name: str, shape: tuple[int, int] = MAIN) -> list[Metric]:
    metrics = [m for m in found.metrics if m.name == name]
    return [m for m in metrics if (m.prompt_tokens, m.generate_tokens) == shape]


def _noisy(found: Document, share: float) -> Document:
    counting = [s for s in found["samples"] if s["outcome"] == "ok"]
    for n, sample in enumerate(counting):
        sample["noisy"] = n < share * len(counting)
    return found


def test_a_run_like_those_before_is_the_same_and_says_with_what_it_was_compared() -> None:
    found = _compared(_run(None))

    assert found.outcome == "same"
    assert found.runs == tuple(range(1, 11))
    assert (found.pinned, found.confirms) == (None, None)
    assert {(m.prompt_tokens, m.decides) for m in found.metrics} == {
        (32, False),
        (256, True),
        (2048, False),
    }


@pytest.mark.parametrize("newest", [_run(None), _run(None, 36.0), _run(None, 50.0)])
def test_the_comparison_is_what_the_schema_says(newest: Document) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"pinned": _run(3)},
        {"rolling": []},
        {"run": _run(2, options={})},
    ]
    for more in changes:
        found = {**newest, "comparison": _compared(newest, **more).to_json()}
        jsonschema.validate(found, schema.load("bench"))


def test_a_loss_is_suspected_first_and_its_second_run_confirms_it() -> None:
    first = _run(None, 36.8)
    again = _run(12, 36.9)

    suspected, confirmed = _compared(first), _compared({**first, "id": 11}, again)

    assert suspected.outcome == "suspected"
    assert (confirmed.outcome, confirmed.confirms) == ("regressed", 11)
    assert _of(confirmed, "decode_tps")[0].shift.runs == 2


def test_a_second_run_that_is_good_lifts_the_suspicion() -> None:
    found = _compared(_run(11, 30.0), _run(12, 40.0))

    assert (found.outcome, found.confirms) == ("same", 11)


def test_why_is_a_sentence_with_the_numbers() -> None:
    assert _compared(_run(11, 36.6), _run(12, 36.6)).why == (
        "decode 36.1 tokens/s is 8.6 % below the last 10 runs (39.5; runs lie 0.4 % apart)"
    )
    assert _compared(_run(None), rolling=[], pinned=_run(3)).why.endswith(
        "above the pinned run 3 (39.8; samples of a run lie 1.1 % apart)"
    )
    assert "prefill 300 tokens/s is 25.0 % below" in _compared(_run(None, prefill_tps=300.0)).why


def test_rates_of_thousands_are_written_out() -> None:
    good = [_run(n, prefill_tps=14_820.0) for n in range(1, 11)]
    found = _compared(_run(None, prefill_tps=11_111.0), rolling=good)

    assert "prefill 11111 tokens/s" in found.why
    assert "(14820;" in found.why


def test_a_suspicion_of_the_night_before_is_judged_together_with_this_one() -> None:
    before = _run(11, 36.8, "suspected")
    alone = _compared(_run(None, 36.8))

    found = _compared(_run(None, 36.8), before=before)

    assert (alone.outcome, found.outcome) == ("suspected", "regressed")
    assert found.confirms is None


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(_run(11, 36.8, "regressed"), id="it-was-settled"),
        pytest.param(_run(11, 36.8), id="it-was-not-compared"),
        pytest.param(_run(11, 36.8, "suspected", key="f" * 16), id="of-another-key"),
        pytest.param(_noisy(_run(11, 36.8, "suspected"), 0.5), id="it-was-noisy"),
    ],
)
def test_no_other_run_before_is_judged_together_with_this_one(before: Document) -> None:
    assert _compared(_run(None, 36.8), before=before).outcome == "suspected"


def test_two_nights_count_as_two_where_two_runs_of_a_night_are_one() -> None:
    speeds = (38.4, 41.6, 38.8, 41.2, 40.0, 39.0, 41.0, 38.4, 41.6, 40.0)
    apart = [_run(n, tps) for n, tps in enumerate(speeds, start=1)]
    low = _run(11, 35.0, "suspected")

    assert _compared(low, _run(12, 35.0), rolling=apart).outcome == "suspected"
    assert _compared(_run(12, 35.0), rolling=apart, before=low).outcome == "regressed"


def test_a_suspicion_that_was_accepted_by_a_pin_is_settled() -> None:
    before = _run(11, 36.8, "suspected")
    found = _compared(_run(None, 36.8), before=before, pinned=before)

    assert found.outcome == "same"
    assert {m.shift.runs for m in found.metrics} == {1}


def test_only_the_main_shape_decides() -> None:
    slow_elsewhere = _run(None)
    for sample in slow_elsewhere["samples"]:
        if sample["want_prompt_tokens"] == 2048:
            sample["decode_tps"] *= 0.5

    found = _compared(slow_elsewhere)

    assert found.outcome == "same"
    assert _of(found, "decode_tps", (2048, 64))[0].shift.outcome == "suspected"


def test_prefill_decides_as_well_as_decode() -> None:
    assert _compared(_run(None, prefill_tps=300.0)).outcome == "suspected"


def test_a_second_run_of_the_main_shape_alone_leaves_the_other_cells_told() -> None:
    again = _run(12, 36.8)
    again["samples"] = [s for s in again["samples"] if s["want_prompt_tokens"] == MAIN[0]]
    found = _compared(_run(11, 36.8), again)

    assert found.outcome == "regressed"
    assert _of(found, "decode_tps", (32, 64))[0].shift.runs == 1


def test_samples_that_do_not_count_or_are_noisy_are_left_out() -> None:
    one = _run(None)
    main = [s for s in one["samples"] if s["want_prompt_tokens"] == MAIN[0]]
    main[1].update(noisy=True, decode_tps=1.0)
    main[2].update(outcome="cached", decode_tps=1.0)
    main[3].update(decode_tps=None)

    shift = _of(_compared(one), "decode_tps")[0].shift

    assert shift.newest == statistics.median(s["decode_tps"] for s in main[4:])


@pytest.mark.parametrize("share", [0.41, 0.9])
def test_a_noisy_run_is_inconclusive_and_says_how_noisy(share: float) -> None:
    found = _compared(_noisy(_run(None, 20.0), share))

    assert found.outcome == "inconclusive"
    assert "of the samples that count were taken on a quiet box, and it takes 60 %" in found.why
    assert found.metrics == ()


def test_a_noisy_second_run_confirms_nothing() -> None:
    found = _compared(_run(11, 36.8), _noisy(_run(12, 36.8), 0.5))

    assert (found.outcome, found.confirms) == ("inconclusive", 11)


def test_a_main_shape_that_is_noisy_among_quiet_ones_is_inconclusive() -> None:
    one = _run(None)
    for sample in one["samples"]:
        sample["noisy"] = sample["want_prompt_tokens"] == MAIN[0] and sample["round"] < 3

    assert _compared(one).why.startswith("only 40 % of the samples")


def test_a_run_beside_another_model_or_without_samples_is_inconclusive() -> None:
    beside = {"outcome": "inconclusive", "detail": "another model was loaded"}
    verdict = {"outcome": "inconclusive", "checks": [{"outcome": "passed"}, beside]}

    assert _compared(_run(None, verdict=verdict)).why.endswith(": another model was loaded")
    assert _compared(_run(None, samples=[])).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("rolling", "why"),
    [
        ([], "the first run of its kind: there is nothing to compare it with"),
        (_good(2), "2 of the 3 runs that a baseline takes"),
    ],
)
def test_a_short_baseline_is_unknown(rolling: list[Document], why: str) -> None:
    found = _compared(_run(None, 20.0), rolling=rolling)

    assert (found.outcome, found.why) == ("unknown", why)


def test_a_run_without_the_shape_of_this_one_is_no_baseline() -> None:
    other = _run(3)
    for sample in other["samples"]:
        sample["want_tokens"] = 128

    assert _compared(_run(None), rolling=[other] * 5).why == "0 of the 3 runs that a baseline takes"
    found = _compared(_run(None), rolling=[], pinned=other)
    assert (found.outcome, found.pinned) == ("unknown", 3)
    assert found.why.startswith("the pinned run 3 has no prompts of 256 tokens with 64 generated")


def test_a_slow_loss_shows_against_the_pin_where_the_newest_runs_are_as_slow() -> None:
    slow = [_run(n, 34.0 + 0.1 * (n % 3)) for n in range(20, 30)]
    found = _compared(_run(31, 34.0), _run(32, 34.0), rolling=slow, pinned=_run(1))

    outcomes = {m.baseline: m.shift.outcome for m in _of(found, "decode_tps")}
    assert outcomes == {"rolling": "same", "pinned": "regressed"}
    assert found.outcome == "regressed"
    assert found.pinned == 1
    assert "below the pinned run 1" in found.why


def test_a_loss_that_was_accepted_is_the_new_level() -> None:
    accepted = _run(11, 36.0, "regressed")
    ordinary = _run(11, 36.0, "same")

    assert _compared(_run(None, 36.0), pinned=accepted).outcome == "same"
    assert _compared(_run(None, 36.0), pinned=accepted).runs == ()
    assert _compared(_run(None, 36.0), pinned=ordinary).outcome == "suspected"
    later = [*_good(), *(_run(n, 36.0) for n in range(12, 15))]
    assert _compared(_run(None, 36.0), rolling=later, pinned=accepted).runs == (12, 13, 14)


def test_a_run_that_is_named_is_the_only_baseline() -> None:
    found = _compared(_run(11, 36.0), _run(12, 36.0), run=_run(4, 36.1), pinned=_run(3))

    assert (found.outcome, found.runs, found.pinned) == ("same", (4,), None)
    assert {m.baseline for m in found.metrics} == {"run"}
    assert "below run 4 (35.6; runs lie" in found.why


def test_a_run_that_is_named_shows_a_loss_that_a_pin_would_let_pass() -> None:
    newest = _run(11, 37.2)

    assert _compared(newest, rolling=_good(), run=_run(4)).outcome == "suspected"
    against = [m for m in _compared(newest, pinned=_run(4)).metrics if m.baseline == "pinned"]
    assert {m.shift.outcome for m in against} == {"same"}


def test_beside_a_run_that_is_named_no_other_night_counts() -> None:
    found = _compared(_run(12, 36.8), run=_run(4), before=_run(11, 36.8, "suspected"))

    assert {m.shift.runs for m in found.metrics} == {1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"blob": "sha256:" + 64 * "c"}, "weights bbbbbbbbbbbb instead of cccccccccccc"),
        ({"quantization": "Q8_0"}, "quantization Q4_K_M instead of Q8_0"),
        ({"server_version": "0.9.2"}, "server version 0.9.3 instead of 0.9.2"),
        ({"runtime": None}, "runtime embedded instead of unknown"),
        ({"machine": {"name": "x", "digest": "f" * 16}}, "machine 0123456789ab instead of ffff"),
        ({"options": {"num_ctx": 4096}}, "option num_ctx 8192 instead of 4096"),
        ({"options": {"num_ctx": 8192, "num_gpu": 0}}, "option num_gpu unknown instead of 0"),
        ({"parallel": 4}, "slots 1 instead of 4"),
        ({"kv_cache_type": "q8_0"}, "KV cache type f16 instead of q8_0"),
        ({"flash_attention": True}, "flash attention off instead of on"),
    ],
)
def test_what_decides_speed_makes_another_key_and_is_named(change: Document, said: str) -> None:
    here, there = _run(None), _run(4, **change)

    assert key(here) != key(there)
    [only] = differs(here, there)
    assert only.startswith(said)
    found = _compared(here, run=there)
    assert found.outcome == "not_comparable"
    assert found.why == f"run 4 is of another kind: {only}"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"digest": "sha256:" + 64 * "f"}, id="a-derived-model-of-the-same-weights"),
        pytest.param({"model": "other", "effort": "quick"}, id="name-and-effort"),
        pytest.param({"machine": {"name": "renamed", "digest": "0123456789abcdef"}}, id="host"),
        pytest.param({"samples": [], "started_at": "2027-01-01T00:00:00Z"}, id="what-it-found"),
    ],
)
def test_what_does_not_decide_speed_makes_no_other_key(change: Document) -> None:
    assert key(_run(None)) == key(_run(4, **change))
    assert differs(_run(None), _run(4, **change)) == []


def test_a_key_does_not_know_the_order_of_options_and_has_16_digits() -> None:
    one, other = {"num_ctx": 1, "num_gpu": 2}, {"num_gpu": 2, "num_ctx": 1}

    assert key(_run(None, options=one)) == key(_run(None, options=other))
    assert len(key(_run(None))) == 16
    assert int(key(_run(None)), 16)


def test_a_document_of_an_older_deploy_is_told_by_its_digest() -> None:
    old = _run(4)
    for name in ("blob", "flash_attention", "key"):
        del old[name]

    assert differs(_run(None), old) == [
        "weights bbbbbbbbbbbb instead of aaaaaaaaaaaa",
        "flash attention off instead of unknown",
    ]


def test_a_named_run_that_was_noisy_is_no_measure() -> None:
    found = _compared(_run(None), run=_noisy(_run(4), 0.6))

    assert found.outcome == "not_comparable"
    assert found.why.startswith("run 4 is no measure: only 40 % of the samples")
