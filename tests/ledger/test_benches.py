"""Bench runs in the ledger: whole, as figures, and what later runs are held against."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.ledger import FIGURES, Ledger
from tests.bench.documents import GIB, document

KEY = document()["key"]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


def comparison(outcome: str) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "why": "",
        "against": {"runs": [], "pinned": None},
        "confirms": None,
        "confirmed_by": None,
        "metrics": [],
    }


def verdict(outcome: str) -> dict[str, Any]:
    return {"outcome": outcome, "checks": []}


def with_noise(noisy: int, *, shape: int | None = None) -> list[dict[str, Any]]:
    """Return samples of which the first so many that count, of that prompt or of any, are noisy."""
    samples: list[dict[str, Any]] = document()["samples"]
    counting = [
        s for s in samples if s["outcome"] == "ok" and shape in (None, s["want_prompt_tokens"])
    ]
    for sample in counting[:noisy]:
        sample["noisy"] = True
    return samples


def test_a_run_comes_back_whole_with_what_the_ledger_knows_of_it(ledger: Ledger) -> None:
    number = ledger.record_bench(document())
    known = {"id": number, "deployment": None, "standing": "baseline"}
    assert ledger.bench_run(number) == {**document(), **known}
    assert ledger.bench_runs(9) == ledger.baseline(KEY) == [{**document(), **known}]


@pytest.mark.parametrize("number", [0, -1, 2, 2**63, 10**30])
def test_a_number_that_no_run_has_gives_none(ledger: Ledger, number: int) -> None:
    assert ledger.bench_run(number) is None
    ledger.record_bench(document())
    assert ledger.bench_run(number) is None


USABLE = [
    pytest.param({}, id="passed"),
    pytest.param({"verdict": verdict("failed")}, id="a-memory-error-says-nothing-about-speed"),
    pytest.param({"verdict": None}, id="nothing-promised"),
    pytest.param({"samples": with_noise(6)}, id="nine-of-fifteen-quiet"),
    pytest.param({"comparison": comparison("same")}, id="same"),
    pytest.param({"comparison": comparison("better")}, id="better"),
    pytest.param({"comparison": comparison("unknown")}, id="first-of-its-key"),
]
OUT = [
    pytest.param({"key": None}, "no key", id="no-key"),
    pytest.param({"verdict": verdict("inconclusive")}, "verdict is inconclusive", id="verdict"),
    pytest.param({"stopped": "deadline"}, "to its end", id="deadline"),
    pytest.param({"stopped": "rejected"}, "to its end", id="rejected"),
    pytest.param({"samples": []}, "none of its samples", id="no-samples"),
    pytest.param({"samples": with_noise(7)}, "noisy", id="eight-of-fifteen-quiet"),
    pytest.param({"samples": with_noise(3, shape=256)}, "noisy", id="main-shape-noisy"),
    pytest.param({"comparison": comparison("inconclusive")}, "says inconclusive", id="undecided"),
]


@pytest.mark.parametrize("changes", USABLE)
def test_a_complete_and_quiet_run_is_a_baseline(ledger: Ledger, changes: dict[str, Any]) -> None:
    number = ledger.record_bench(document(**changes))
    assert [run["id"] for run in ledger.baseline(KEY)] == [number]
    ledger.pin(number)
    assert ledger.figures()[0]["standing"] == "pinned"


@pytest.mark.parametrize(("changes", "why"), OUT)
def test_what_says_nothing_sure_about_speed_is_out_and_cannot_be_pinned(
    ledger: Ledger, changes: dict[str, Any], why: str
) -> None:
    number = ledger.record_bench(document(**changes))
    assert ledger.baseline(KEY) == []
    assert ledger.figures()[0]["standing"] == "out"
    with pytest.raises(InvalidInput, match=f"run {number} cannot be a baseline.*{why}"):
        ledger.pin(number)
    assert ledger.pinned(KEY) is None


def test_the_baseline_is_the_newest_usable_runs_oldest_first(ledger: Ledger) -> None:
    for number in range(1, 14):
        stopped = "deadline" if number in (5, 13) else "complete"
        ledger.record_bench(document(stopped=stopped))
        ledger.record_bench(document(key="another"))
    assert [run["id"] for run in ledger.baseline(KEY)] == [1, 3, 5, 7, *range(11, 25, 2)]
    assert [run["id"] for run in ledger.baseline(KEY, 2)] == [21, 23]
    assert ledger.baseline("nobody's") == []


def test_the_last_judged_run_is_one_that_noise_did_not_spoil(ledger: Ledger) -> None:
    ledger.record_bench(document(comparison=comparison("suspected")))
    ledger.record_bench(document(comparison=comparison("inconclusive")))
    ledger.record_bench(document(comparison=None, effort="validate"))
    last = ledger.last_judged(KEY)
    assert last
    assert (last["id"], last["comparison"]["outcome"]) == (1, "suspected")
    assert ledger.last_judged("nobody's") is None


@pytest.mark.parametrize("outcome", ["suspected", "regressed"])
def test_a_slower_run_is_in_no_baseline_until_somebody_accepts_it(
    ledger: Ledger, outcome: str
) -> None:
    number = ledger.record_bench(document(comparison=comparison(outcome)))
    assert ledger.baseline(KEY) == []
    assert ledger.figures()[0]["standing"] == "out"
    ledger.pin(number)
    pinned = ledger.pinned(KEY)
    assert pinned
    assert pinned["id"] == number


def test_a_few_samples_after_a_load_are_no_baseline(ledger: Ledger) -> None:
    number = ledger.record_bench(document(effort="validate"))
    assert ledger.baseline(KEY) == []
    with pytest.raises(InvalidInput, match="follow a deployment's load"):
        ledger.pin(number)


def test_a_key_has_one_pin_and_the_last_one_counts(ledger: Ledger) -> None:
    first, second = ledger.record_bench(document()), ledger.record_bench(document())
    other = ledger.record_bench(document(key="another"))
    for number in (first, other, second):
        ledger.pin(number)
    pinned = [ledger.pinned(key) for key in (KEY, "another", "nobody's")]
    assert [run and run["id"] for run in pinned] == [second, other, None]
    assert [row["standing"] for row in ledger.figures()] == ["pinned", "pinned", "baseline"]
    # A pinned run is one of the rolling baseline still.
    assert [run["id"] for run in ledger.baseline(KEY)] == [first, second]


def test_to_pin_what_is_not_there_names_what_is(ledger: Ledger) -> None:
    with pytest.raises(InvalidInput, match="no bench run 7: none was recorded yet"):
        ledger.pin(7)
    assert not ledger.path.exists()
    for _ in range(3):
        ledger.record_bench(document())
    with pytest.raises(InvalidInput, match="no bench run 7: there are 1 to 3"):
        ledger.pin(7)


def test_a_second_run_may_clear_or_convict_the_first(ledger: Ledger) -> None:
    number = ledger.record_bench(document(comparison=comparison("suspected")))
    for outcome, standing in (("same", "baseline"), ("regressed", "out")):
        found = comparison(outcome) | {"confirmed_by": 2}
        ledger.judge(number, found)
        run = ledger.bench_run(number)
        assert run
        assert (run["comparison"], run["standing"]) == (found, standing)
        assert run["samples"] == document()["samples"]
        assert ledger.figures()[0]["comparison"] == outcome


def test_figures_are_those_of_the_document(ledger: Ledger) -> None:
    bench = document(gpu=True, comparison=comparison("same"))
    ledger.record_bench(bench)
    [row] = ledger.figures()
    assert tuple(row) == FIGURES
    decode = bench["metrics"]["decode_tps"]
    assert row == {
        "id": 1,
        "at": "2026-11-26T03:00:00Z",
        "model": "deploy/deepseek-r1:7b-ctx8192",
        "machine": "0123456789abcdef",
        "key": KEY,
        "standing": "baseline",
        "deployment": None,
        "quantization": "Q4_K_M",
        "architecture": "qwen2",
        "server_version": "0.9.3",
        "runtime": "release",
        "placement": "gpu",
        "context": 8192,
        "parallel": 1,
        "effort": "default",
        "decode_tps": decode["median"],
        "decode_low": decode["ci_low"],
        "decode_high": decode["ci_high"],
        "prefill_tps": 400.0,
        "ttft_s": bench["metrics"]["ttft_s"]["median"],
        "load_s": 2.2,
        "resident_bytes": int(0.65 * GIB),
        "vram_bytes": int(5.1 * GIB),
        "promised_resident_bytes": int(0.6 * GIB),
        "promised_vram_bytes": int(5.0 * GIB),
        "promised_decode_tps": 42.0,
        "verdict": "passed",
        "comparison": "same",
        "noisy": False,
    }


def test_unknown_memory_of_one_device_makes_the_sum_unknown(ledger: Ledger) -> None:
    memory = document(gpu=True)["memory"]
    memory["devices"] = [*memory["devices"], {"index": 1, "bytes": None, "how": "N/A"}]
    ledger.record_bench(document(memory=memory))
    ledger.record_bench(document())  # on a CPU there are no devices
    assert [row["vram_bytes"] for row in ledger.figures()] == [None, None]


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": None, "memory": None, "promised": None, "verdict": None, "prompt": None},
        {"metrics": {"decode_tps": None}, "memory": {"devices": None}, "promised": {}},
        {"samples": [1, 2.5]},
        {"samples": None},
    ],
    ids="-".join,
)
def test_whatever_a_document_lacks_is_unknown_and_no_failure(
    ledger: Ledger, changes: dict[str, Any]
) -> None:
    ledger.record_bench(document(**changes))
    ledger.record_bench({"model": "m", "machine": {"digest": "d"}, "started_at": "2026"} | changes)
    rows = ledger.figures()
    assert {row["standing"] for row in rows} <= {"out", "baseline"}
    assert set(rows[0].values()) <= {2, "2026", "m", "d", "out", None}
    assert len(ledger.bench_runs(9)) == 2


def test_figures_are_filtered_by_model_machine_key_and_time(ledger: Ledger) -> None:
    def found(**wanted: Any) -> list[int]:
        return [row["id"] for row in ledger.figures(**wanted)]

    deployed = {
        "tag": "qwen3:8b",
        "model": "deploy/qwen3:8b-ctx4096",
        "state": "current",
        "alias": "deploy-chat:latest",
        "server_host": "http://127.0.0.1:11434",
        "machine": {"digest": "d"},
        "deployed_at": "2026-11-01T00:00:00Z",
    }
    owner = ledger.begin(deployed, {})
    ledger.note(owner, deployed, document(model=deployed["model"]))
    ledger.record_bench(document(model=deployed["model"], started_at="2026-11-27T00:00:00Z"))
    ledger.record_bench(document(key="another", machine={"name": "b", "digest": "other box"}))
    assert found() == [3, 2, 1]
    assert found(limit=2) == [3, 2]
    assert found(model="QWEN3:8b") == found(model="ctx4096") == [2, 1]
    assert found(model="Deploy-Chat") == [2, 1]  # by the alias, also what stood alone
    assert found(model="DeepSeek") == found(machine="other box") == found(key="another") == [3]
    assert found(model="%") == found(key="an") == []
    assert found(since=datetime(2026, 11, 27, tzinfo=UTC)) == [2]
    assert found(since=datetime.fromisoformat("2026-11-27T02:00:00+02:00")) == [2]
    assert found(since=datetime(2026, 11, 27, 0, 0, 1, tzinfo=UTC)) == []
    assert [row["deployment"] for row in ledger.figures()] == [None, None, owner]
