"""A ledger of an older deploy is read as it lies, and brought up to date by the first write."""

import json
import sqlite3
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.ledger.figures import figures
from tests.bench.documents import document
from tests.ledger.older import DEPLOYED, older_bench, older_ledger

HOST = DEPLOYED["server_host"]
ALIAS = DEPLOYED["alias"]
# What a run of deploy 0.1 says for every key that came later.
_NOTHING = ("key", "blob", "effort", "architecture", "placement", "promised", "comparison")
_EMPTY = ("cells", "left_out", "loads", "concurrency")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_ledger_is_read_without_being_written(ledger: Ledger, version: int) -> None:
    older_ledger(ledger.path, version=version)
    before = ledger.path.read_bytes()
    current = ledger.current(HOST, ALIAS)
    assert current
    assert current.items() >= DEPLOYED.items()
    assert ledger.verification(1) is None
    assert [run["id"] for run in ledger.bench_runs(9)] == [1]
    assert [row["id"] for row in ledger.figures()] == [1]
    assert ledger.path.read_bytes() == before


@pytest.mark.parametrize("version", [1, 2])
def test_the_first_write_keeps_everything_that_was_there(ledger: Ledger, version: int) -> None:
    old = older_bench()
    older_ledger(ledger.path, version=version, texts=(json.dumps(old),) * 3)
    read_before = (ledger.bench_runs(9), ledger.figures(), ledger.deployments(9))
    ledger.record_verification({"deployment": 1, "verified_at": "2026-01-01T00:00:00Z"})
    assert (ledger.bench_runs(9), ledger.figures(), ledger.deployments(9)) == read_before
    assert ledger.verification(1)
    assert ledger.record_bench(document()) == 4
    assert ledger.bench_runs(1)[0]["standing"] == "baseline"


def test_an_older_run_is_whole_and_says_nothing_under_the_keys_that_it_lacks(
    ledger: Ledger,
) -> None:
    old = older_bench()
    older_ledger(ledger.path, version=2, texts=(json.dumps(old),))
    found = ledger.bench_run(1)
    assert found
    changed = ("samples", "metrics", "memory")
    assert found.items() >= {k: v for k, v in old.items() if k not in changed}.items()
    assert [{**s, "devices": []} for s in old["samples"]] == found["samples"]
    assert found["metrics"] == {**old["metrics"], "load_cold_s": None}
    assert found["memory"]["parts"] is None
    assert document().keys() <= found.keys()
    assert [found[name] for name in _NOTHING] == [None] * len(_NOTHING)
    assert [found[name] for name in _EMPTY] == [[]] * len(_EMPTY)
    assert found["standing"] == "out"


@pytest.mark.parametrize(
    "old",
    [
        pytest.param(older_bench(), id="on-a-cpu"),
        pytest.param(older_bench(gpu=True), id="on-a-gpu"),
        pytest.param(older_bench(noisy=6), id="six-of-fifteen-noisy"),
        pytest.param(older_bench(noisy=7), id="seven-of-fifteen-noisy"),
        pytest.param(older_bench(verdict=None), id="nothing-promised"),
        pytest.param({**older_bench(), "samples": []}, id="no-samples"),
        pytest.param({**older_bench(), "samples": [1, "two"]}, id="other-samples"),
        pytest.param(
            {
                "model": "qwen3:8b",
                "machine": {"digest": "d"},
                "started_at": "2026",
                "memory": {"devices": [{"bytes": 1}, {"bytes": None}]},
            },
            id="hardly-anything",
        ),
    ],
)
def test_the_figures_of_older_runs_are_those_that_they_would_get_today(
    ledger: Ledger, old: dict[str, object]
) -> None:
    older_ledger(ledger.path, version=2, texts=(json.dumps(old),))
    [row] = ledger.figures()
    for name, value in figures(old).items():
        # Old releases of SQLite write 15 digits.
        assert row[name] == (pytest.approx(value) if isinstance(value, float) else value), name


def test_a_document_that_sqlite_cannot_read_does_not_stop_the_migration(ledger: Ledger) -> None:
    broken = json.dumps({**older_bench(), "wall_s": float("nan")})
    older_ledger(ledger.path, version=2, texts=(broken, json.dumps(older_bench())))
    ledger.record_bench(document())
    assert [run["id"] for run in ledger.bench_runs(9)] == [3, 2, 1]
    found = ledger.bench_run(1)
    assert found
    assert len(found["samples"]) == 15
    assert ledger.figures()[2]["decode_tps"] is None


def test_a_migration_that_breaks_leaves_the_older_ledger_as_it_was(ledger: Ledger) -> None:
    older_ledger(ledger.path, version=2)
    with sqlite3.connect(ledger.path) as db:
        db.execute("CREATE TABLE pins (foreign_thing TEXT)")
    db.close()
    with pytest.raises(Exception, match="pins already exists"):
        ledger.record_bench(document())
    with sqlite3.connect(ledger.path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM bench_runs").fetchone() == (1,)
        db.execute("DROP TABLE pins")
    db.close()
    assert ledger.record_bench(document()) == 2
