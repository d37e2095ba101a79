"""A measurement on a screen: aligned, within the width, every figure under its own name."""

import io
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.render_bench import bench
from orchestrator.cli.sparkline import bar, sparkline
from orchestrator.ledger import older
from tests.bench.documents import GIB, document, metric

NEW_KEYS = (
    "id", "key", "blob", "effort", "time_budget_s", "architecture", "placement", "flash_attention",
    "promised", "effective", "cells", "left_out", "loads", "thinking", "concurrency", "comparison",
)  # fmt: skip
WIDTH = 120
RATIOS = {
    (prompt, baseline): round(0.8 + prompt / 20000 + len(baseline) / 100, 3)
    for prompt in (32, 256, 2048)
    for baseline in ("rolling", "pinned", "run")
}


def compared(outcome: str, *baselines: str) -> dict[str, Any]:
    """Return a comparison of decode at every depth, against each of these baselines."""
    metrics = [
        {
            "name": "decode_tps", "prompt_tokens": prompt, "generate_tokens": 64,
            "baseline": baseline, "decides": True, "outcome": outcome, "baseline_runs": 10,
            "runs": 1, "ratio": RATIOS[prompt, baseline], "ci_low": 0.9, "ci_high": 0.94,
            "scatter": 0.01, "threshold": 0.05,
        }
        for prompt in (32, 256, 2048)
        for baseline in baselines
    ]  # fmt: skip
    why = "decode is 7.9 % slower than 10 runs before"
    return {
        "outcome": outcome, "why": why, "against": {"runs": [1, 2], "pinned": None},
        "confirms": 146, "metrics": metrics,
    }  # fmt: skip


def old(**changes: Any) -> dict[str, Any]:
    """Return a document as deploy 0.4 wrote it."""
    found = {k: v for k, v in document().items() if k not in NEW_KEYS} | changes
    found["metrics"] = {k: v for k, v in found["metrics"].items() if k != "load_cold_s"}
    new = ("filled_tokens", "filled_share", "parts")
    found["memory"] = {k: v for k, v in found["memory"].items() if k not in new}
    found["samples"] = [{k: v for k, v in s.items() if k != "devices"} for s in found["samples"]]
    return found


def line(text: str, start: str) -> str:
    """Return the first line that starts so: the table of speed is the first one."""
    return next(each for each in text.splitlines() if each.startswith(start))


def columns(text: str) -> list[str]:
    return re.split(r"\s{2,}", text)


@pytest.mark.parametrize(
    "given_",
    [
        document(gpu=True, id=147, comparison=compared("regressed", "rolling", "pinned")),
        document(comparison=compared("suspected", "run")),
        document(decode_tps=12345.6, prefill_tps=98765.4, gpu=True),
        document(decode_tps=0.123, prefill_tps=1.5),
        old(),
        older.bench(old()),
    ],
    ids=["gpu", "run", "fast", "slow", "old", "old-of-the-ledger"],
)
def test_every_line_fits_a_wide_terminal_and_nothing_in_it_moves_the_cursor(
    given_: dict[str, Any],
) -> None:
    text = bench(given_)
    assert all(len(each) <= WIDTH for each in text.splitlines())
    assert text.replace("\n", "").isprintable()
    assert "None" not in text
    assert "\n\n\n" not in text


def test_columns_of_every_table_stand_below_each_other() -> None:
    text = bench(document(gpu=True, comparison=compared("regressed", "rolling", "pinned")))
    lines = text.splitlines()
    head = next(each for each in lines if each.startswith("speed ") and "median" in each)
    for row in (each for each in lines if each.startswith(("prefill pp", "decode tg", "TTFT"))):
        assert row[head.index("min..max")] != " "
        assert row[head.index("unit") - 1] == " "
        assert row[: head.index("unit")].rstrip() == columns(row)[0]


def test_each_ratio_stands_beside_its_own_metric_and_below_its_own_baseline() -> None:
    text = bench(document(comparison=compared("regressed", "rolling", "pinned")))
    assert columns(line(text, "speed "))[-2:] == ["to baseline", "to pinned"]
    for prompt in (32, 256, 2048):
        assert columns(line(text, f"decode tg64 @{prompt} "))[-2:] == [
            f"{RATIOS[prompt, baseline]:.3f} regressed" for baseline in ("rolling", "pinned")
        ]
        assert columns(line(text, f"TTFT pp{prompt} "))[-2:] == ["-", "-"]


def test_all_cells_are_in_one_table_with_their_own_shape() -> None:
    text = bench(document())
    for label in ("prefill pp32", "prefill pp2048", "decode tg64 @32", "decode tg64 @2048"):
        assert columns(line(text, f"{label} "))[1] == "tok/s"
    assert columns(line(text, "TTFT pp32 "))[1:3] == ["ms", "95.00"]
    assert columns(line(text, "TTFT pp2048 "))[1:3] == ["s", "5.135"]
    assert columns(line(text, "load cold "))[1:5] == ["s", "9.500", "-", "[9.500, 9.500]"]
    assert line(text, "load file cached ")


def test_a_load_whose_file_was_somewhere_is_not_called_cached() -> None:
    loads = [{"wall_s": 2.0, "load_s": 2.0, "file_cache": "unknown"}]
    text = bench(document(loads=loads))
    assert "file cached" not in text
    assert columns(line(text, "load  "))[2] == "2.200"


def test_the_three_figures_of_memory_are_never_mixed() -> None:
    text = bench(document(gpu=True))
    assert columns(line(text, "device 0"))[1:] == [
        "5.00 GiB", "-", "5.10 GiB", "+2.0 % passed", "NVML, per process",
    ]  # fmt: skip
    assert columns(line(text, "all of it"))[1:] == ["5.35 GiB", "5.30 GiB", "-", "-"]
    assert columns(line(text, "KV cache "))[1:4] == ["0.44 GiB", "-", "0.44 GiB"]
    # What the driver takes beside the buffers is in the total alone.
    assert columns(line(text, "buffers together"))[1] == "5.10 GiB"


def test_an_error_keeps_its_sign_and_what_was_not_measured_has_none() -> None:
    bench_ = document()
    bench_["memory"]["resident_bytes"] = 4 * GIB
    assert "-25.0 %" in line(bench(bench_), "resident")
    bench_["memory"] |= {"resident_bytes": None, "resident_how": "no such process"}
    assert columns(line(bench(bench_), "resident"))[1:] == [
        "5.00 GiB", "-", "-", "- passed", "no such process",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        ((7564, 7564 / 8192), "memory    peak, with 92% of the context filled"),
        ((512, 512 / 8192), "memory    peak at 512 tokens, 6% of the context"),
        ((None, None), "memory    peak so far: how full the context was is not known"),
    ],
)
def test_only_a_filled_context_makes_it_the_peak(filled: tuple[Any, Any], said: str) -> None:
    given_ = document()
    given_["memory"] |= {"filled_tokens": filled[0], "filled_share": filled[1]}
    assert said in bench(given_).splitlines()


def test_speed_outside_the_range_of_its_estimate_is_marked() -> None:
    given_ = document()
    assert "outside" not in bench(given_)
    given_["promised"]["decode_tps"] = [50.0, 60.0, 70.0]
    assert "outside the range" in line(bench(given_).partition("\nestimated ")[2], "decode ")


def test_a_setting_that_the_engine_did_not_take_over_is_told() -> None:
    given_ = document(kv_cache_type="q8_0")
    assert "KV cache f16 (effective, q8_0 was planned)" in bench(given_)
    given_["effective"] |= {"kv_cache_type": None}
    assert "KV cache q8_0 (as planned)" in bench(given_)


def test_users_at_once_are_drawn_and_queues_are_named() -> None:
    rows = bench(document()).partition("\nusers ")[2].splitlines()[1:4]
    assert [columns(each.strip())[0] for each in rows] == ["1", "2", "4"]
    assert [("queued" in each) for each in rows] == [False, True, True]


def test_the_verdict_the_comparison_and_what_was_left_out_are_told() -> None:
    given_ = document(id=147, comparison=compared("regressed", "rolling"), stopped="deadline")
    given_["verdict"] = {
        "outcome": "failed",
        "checks": [{**given_["verdict"]["checks"][0], "outcome": "failed", "detail": "too much"}],
    }
    text = bench(given_)
    assert "memory: failed: too much" in text
    assert "compared  regressed: decode is 7.9 % slower than 10 runs before" in text
    assert "made to confirm what run 146 showed" in text
    assert "left out  a prompt of 8192 tokens: the context has 8192" in text
    assert "ended early: its time was over" in text
    assert "first of the answer after 7.2 s (3 of 3 chats answered within 512 tokens)" in text
    assert "deploy receipt 147" in text


def test_a_run_in_which_nothing_counted_says_so() -> None:
    nothing = dict.fromkeys(document()["metrics"])
    text = bench(document(metrics=nothing, cells=[], samples=[], stopped="rejected", verdict=None))
    assert "no sample counts" in text
    assert "too many samples did not count" in text


def test_one_value_has_no_interval() -> None:
    given_ = document()
    given_["metrics"]["load_cold_s"] |= {"ci_low": None, "ci_high": None}
    assert columns(line(bench(given_), "load cold "))[4] == "-"


def test_a_document_of_an_older_deploy_shows_what_it_has() -> None:
    for given_ in (old(), older.bench(old())):
        text = bench(given_)
        assert columns(line(text, "decode tg64 @256"))[1] == "tok/s"
        assert columns(line(text, "resident"))[1:4] == ["5.00 GiB", "-", "5.10 GiB"]
        assert "users" not in text


def test_a_decode_sample_each_is_drawn_in_the_order_in_which_they_were_taken() -> None:
    given_ = document()
    main = [s for s in given_["samples"] if s["outcome"] == "ok" and s["want_prompt_tokens"] == 256]
    for rate, sample in zip((1.0, 2.0, 3.0, 4.0, 5.0), main, strict=True):
        sample["decode_tps"] = rate
    drawn = columns(line(bench(given_), "in order"))[1]
    assert drawn == sparkline([1, 2, 3, 4, 5])
    assert sorted(drawn) == list(drawn)


# ---- small pictures


def written(encoding: str | None, monkeypatch: pytest.MonkeyPatch, *values: float | None) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding or "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream if encoding else None)
        return sparkline(values)


def test_a_stream_that_cannot_carry_blocks_gets_plain_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert written("utf-8", monkeypatch, 1, 8, 4) == "▁█▄"
    for encoding in ("ascii", "latin-1", "cp1252", None):
        assert written(encoding, monkeypatch, 1, 8, 4) == "_#-"
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert bench(document(gpu=True)).isascii()


@given(st.lists(st.none() | st.floats(-1e9, 1e9)))
def test_a_sparkline_has_one_character_a_value_and_keeps_their_order(
    values: list[float | None],
) -> None:
    drawn = sparkline(values)
    known = [v for v in values if v is not None]
    assert len(drawn) == (len(values) if known else 0)
    steps = [c for v, c in zip(values, drawn, strict=False) if v is not None]
    pairs = sorted(zip(known, steps, strict=True), key=lambda pair: pair[0])
    rank = "▁▂▃▄▅▆▇█" if set(steps) <= set("▁▂▃▄▅▆▇█") else "_.,-=+*#"
    ranks = [rank.index(step) for _, step in pairs]
    assert ranks == sorted(ranks)


def test_values_all_alike_are_a_flat_line_and_none_is_no_line() -> None:
    assert sparkline([3.0, 3.0, 3.0]) in ("▅▅▅", "===")
    assert sparkline([None]) == sparkline([]) == ""
    assert sparkline([1.0, None, 2.0])[1] == " "


def test_a_bar_is_as_long_as_its_share_and_never_hides_a_value() -> None:
    assert [len(bar(v, 100, 20)) for v in (100, 50, 0.1, 0)] == [20, 10, 1, 0]
    assert bar(0, 0, 20) == ""


def test_no_library_of_pictures_is_paid_for() -> None:
    code = (
        "import sys, orchestrator.cli.render_bench; print({'rich', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_a_duration_of_many_seconds_has_no_fraction() -> None:
    metrics = {**document()["metrics"], "load_cold_s": metric([1234.9], "s")}
    assert columns(line(bench(document(metrics=metrics)), "load cold "))[2] == "1235"
