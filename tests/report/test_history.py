"""Many runs in few marks: nothing that went wrong is lost, nothing incomparable is joined."""

from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.history import BINS, MOST_LINES, SHOWN_EACH, changes, family, kind, track

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = st.floats(min_value=0.1, max_value=1000)
STANDINGS = st.sampled_from(["baseline", "pinned", "out"])
FOUND = st.sampled_from([None, "same", "suspected", "regressed", "inconclusive"])


def row(number: int, decode_tps: float | None = 40.0, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "at": (_FIRST + timedelta(days=number)).isoformat(),
        "key": "a",
        "standing": "baseline",
        "comparison": None,
        "decode_tps": decode_tps,
        "decode_low": 39.0,
        "decode_high": 41.0,
        "server_version": "0.9.3",
        "runtime": "release",
        "machine": "box",
        "quantization": "Q4_K_M",
        "context": 8192,
        "parallel": 1,
        "placement": "gpu",
        **changes,
    }


@pytest.mark.parametrize(
    ("model", "tag"),
    [
        ("deploy/deepseek-r1:7b-ctx8192", "deepseek-r1:7b"),
        ("deploy/qwen3:8b-ctx4096-0a1b2c", "qwen3:8b"),
        ("qwen3:8b", "qwen3:8b"),
        ("hf.co/someone/model-ctx4096", "hf.co/someone/model-ctx4096"),
    ],
)
def test_a_derived_model_belongs_to_the_tag_it_came_from(model: str, tag: str) -> None:
    assert family(model) == tag


def test_few_runs_are_drawn_one_by_one_with_their_interval() -> None:
    found = track([row(n, 40.0 + n) for n in range(SHOWN_EACH)], "decode_tps")
    assert not found.binned
    [line] = found.lines
    assert [d.value for d in line] == [40.0 + n for n in range(SHOWN_EACH)]
    assert {(d.low, d.high, d.n) for d in line} == {(39.0, 41.0, 1)}


def test_many_runs_become_bins_that_lose_neither_extreme_nor_count() -> None:
    rows = [row(n, 40.0 + (n * 7) % 11) for n in range(3000)]
    found = track(rows, "decode_tps")
    [line] = found.lines
    assert found.binned
    assert len(line) == BINS
    assert sum(d.n for d in line) == found.n == 3000
    first = [r["decode_tps"] for r in rows[: line[0].n]]
    assert (line[0].low, line[0].value, line[0].high) == (min(first), median(first), max(first))


def test_one_regression_in_ten_thousand_runs_keeps_its_mark() -> None:
    rows = [row(n) for n in range(10_000)]
    rows[5555] |= {"comparison": "regressed", "standing": "out", "decode_tps": 30.0}
    [mark] = track(rows, "decode_tps").marks["regressed"]
    assert (mark.value, mark.n) == (30.0, 1)


def test_noise_is_marked_and_neither_joined_nor_averaged() -> None:
    rows = [row(n) for n in range(SHOWN_EACH * 2)]
    for r in rows[::10]:
        r |= {"standing": "out", "decode_tps": 1.0}
    found = track(rows, "decode_tps")
    assert {d.low for line in found.lines for d in line} == {40.0}
    assert sum(d.n for d in found.marks["unsure"]) == len(rows) / 10
    assert {d.value for d in found.marks["unsure"]} == {1.0}


def test_a_comparison_says_more_than_the_standing() -> None:
    assert kind(row(1, standing="out", comparison="regressed")) == "regressed"
    assert kind(row(1, standing="out", comparison="suspected")) == "suspected"
    assert kind(row(1, standing="out", comparison="inconclusive")) == "unsure"
    assert kind(row(1, standing="pinned", comparison="same")) == "sound"


def test_runs_of_two_keys_are_two_lines_even_when_they_alternate() -> None:
    rows = [row(n, 40.0 + n % 2, key="ab"[n % 2]) for n in range(20)]
    found = track(rows, "decode_tps")
    assert sorted({d.value for d in line}.pop() for line in found.lines) == [40.0, 41.0]
    assert [len(line) for line in found.lines] == [10, 10]


def test_a_thousand_settings_are_a_few_lines_and_a_count() -> None:
    rows = [row(n, key=str(n)) for n in range(1000)]
    found = track(rows, "decode_tps")
    assert len(found.lines) == MOST_LINES
    assert found.left_out == 1000 - MOST_LINES


def test_a_change_is_told_once_where_it_begins() -> None:
    old, new = {"key": "a"}, {"key": "b", "server_version": "0.12.0", "context": 4096}
    rows = [row(n, **(new if n in (3, 5, 6) else old)) for n in range(8)]
    [change] = changes(rows)
    assert (change.number, change.row["id"]) == (1, 3)
    assert change.text == "Ollama 0.9.3 → 0.12.0; context 8192 → 4096"


def test_a_change_that_no_figure_shows_is_still_one() -> None:
    [change] = changes([row(0), row(1, key="b")])
    assert change.text == "other weights or other settings"


def test_runs_without_the_figure_are_not_drawn_as_zero() -> None:
    found = track([row(0, None), row(1), row(2, None)], "decode_tps")
    assert found.n == 1
    assert [[d.value for d in line] for line in found.lines] == [[40.0]]
    assert track([], "decode_tps").lines == []


@given(
    st.lists(st.tuples(VALUES, STANDINGS, FOUND, st.sampled_from("abc")), max_size=2 * SHOWN_EACH)
)
def test_every_run_is_in_a_line_or_under_a_mark(
    runs: list[tuple[float, str, str | None, str]],
) -> None:
    rows = [
        row(n, value, standing=standing, comparison=found, key=key)
        for n, (value, standing, found, key) in enumerate(runs)
    ]
    drawn = track(rows, "decode_tps")
    joined = sum(d.n for line in drawn.lines for d in line)
    marked = {name: sum(d.n for d in dots) for name, dots in drawn.marks.items()}
    assert joined + marked["unsure"] == len(rows)
    for name, count in marked.items():
        assert count == sum(kind(r) == name for r in rows)
    for line in drawn.lines:
        assert [d.at for d in line] == sorted(d.at for d in line)
