"""What the ledger lets go, and what it never does."""

import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger import Ledger, retention
from tests.bench.documents import document

MANY = 10_000
KEYS = 300
_COPY_RUN = """
    WITH RECURSIVE n(number) AS (SELECT 2 UNION ALL SELECT number + 1 FROM n WHERE number < :many)
    INSERT INTO bench_runs SELECT number, model, machine, at, deployment,
        'key ' || (number % :keys), standing, figures, document FROM n, bench_runs WHERE id = 1
"""
_COPY_SAMPLES = """
    INSERT INTO bench_samples
    SELECT id, samples FROM bench_runs, bench_samples WHERE run = 1 AND id > 1
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the samples of five runs, and five verifications; a baseline has two."""
    monkeypatch.setattr(retention, "RUNS_WITH_SAMPLES", 5)
    monkeypatch.setattr(retention, "BASELINE_RUNS", 2)
    monkeypatch.setattr(retention, "VERIFICATIONS_EACH", 5)


def deployment(tag: str) -> dict[str, Any]:
    return {
        "tag": tag,
        "model": f"deploy/{tag}-ctx4096",
        "digest": tag,
        "state": "current",
        "alias": "deploy-current:latest",
        "server_host": "http://127.0.0.1:11434",
        "machine": {"digest": "d"},
        "deployed_at": "2026-11-01T00:00:00Z",
    }


def fill(ledger: Ledger, runs: int, **changes: Any) -> list[int]:
    return [ledger.record_bench(document(**changes)) for _ in range(runs)]


def with_samples(ledger: Ledger) -> list[int]:
    return [run["id"] for run in reversed(ledger.bench_runs(99)) if run["samples"]]


@pytest.mark.usefixtures("few")
def test_old_samples_go_and_the_documents_and_figures_stay(ledger: Ledger) -> None:
    numbers = fill(ledger, 9, stopped="deadline")
    assert with_samples(ledger) == numbers[-5:]
    figures = ledger.figures()
    assert [row["id"] for row in figures] == numbers[::-1]
    assert {row["decode_tps"] for row in figures} == {figures[0]["decode_tps"]}
    oldest = ledger.bench_run(numbers[0])
    assert oldest
    assert oldest["samples"] == []
    assert oldest["metrics"] == document()["metrics"]


@pytest.mark.usefixtures("few")
def test_the_samples_of_each_baseline_stay_and_roll_on(ledger: Ledger) -> None:
    ours = fill(ledger, 3, key="ours")
    fill(ledger, 6, stopped="deadline")
    assert with_samples(ledger)[:2] == ours[-2:]
    ours += fill(ledger, 1, key="ours")
    fill(ledger, 6, stopped="deadline")
    assert with_samples(ledger)[:2] == ours[-2:]
    assert all(run["samples"] for run in ledger.baseline("ours", 2))


@pytest.mark.usefixtures("few")
def test_a_pinned_run_keeps_its_samples_until_another_is_pinned(ledger: Ledger) -> None:
    first = fill(ledger, 1)[0]
    ledger.pin(first)
    last = fill(ledger, 8)[-1]
    assert with_samples(ledger)[0] == first
    ledger.pin(last)
    fill(ledger, 1)
    assert first not in with_samples(ledger)


@pytest.mark.usefixtures("few")
def test_the_proof_of_what_serves_or_can_come_back_keeps_its_samples(ledger: Ledger) -> None:
    proofs = []
    for tag in ("a:1b", "b:2b", "c:3b"):
        number = ledger.begin(deployment(tag), {})
        ledger.note(number, deployment(tag), document(stopped="deadline"))
        ledger.accept(number, deployment(tag))
        proofs.append(ledger.bench_runs(1)[0]["id"])
    newest = fill(ledger, 5, stopped="deadline")
    assert with_samples(ledger) == [*proofs[1:], *newest]  # the first one is removed


@pytest.mark.usefixtures("few")
def test_the_newest_verifications_of_each_deployment_stay(ledger: Ledger) -> None:
    for second in range(8):
        for number in (1, 2):
            at = f"2026-11-01T00:00:0{second}Z"
            ledger.record_verification({"deployment": number, "verified_at": at})
    rows = ledger.read("SELECT deployment, at FROM verifications ORDER BY deployment, id", ())
    expected = [(d, f"2026-11-01T00:00:0{s}Z") for d in (1, 2) for s in range(3, 8)]
    assert rows == expected


def test_ten_thousand_runs_are_read_and_thinned_out_at_once(ledger: Ledger) -> None:
    """In 0.2 s and 0.02 s on a busy box with 2 cores; the limits leave room for a busier one."""
    ledger.record_bench(document())
    with ledger.writing() as db:
        db.execute(_COPY_RUN, {"many": MANY, "keys": KEYS})
        db.execute(_COPY_SAMPLES)
    started_s = time.perf_counter()
    assert len(ledger.figures()) == MANY
    assert time.perf_counter() - started_s < 1.5
    with ledger.writing() as db:
        retention.prune_samples(db)
        started_s = time.perf_counter()
        retention.prune_samples(db)
        assert time.perf_counter() - started_s < 0.3
    [(kept,)] = ledger.read("SELECT count(*) FROM bench_samples", ())
    assert kept == KEYS * retention.BASELINE_RUNS + 1  # and the run that was copied
