"""Real processes write one ledger: at once, and killed in the middle of it."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.ledger.retention import BASELINE_RUNS
from tests.bench.documents import document
from tests.ledger.older import older_ledger

_REPOSITORY = Path(__file__).parents[2]
_KILLS = 8


def writer(
    path: Path, model: str, count: int, *, samples_kept: int = 1000, times: int = 1
) -> subprocess.Popen[str]:
    numbers = map(str, (count, samples_kept, times))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.writer", path, model, *numbers],
        env=os.environ | {"PYTHONPATH": str(_REPOSITORY)},
        cwd=_REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


def assert_whole(path: Path) -> None:
    db = sqlite3.connect(path)
    found = db.execute("PRAGMA integrity_check").fetchall()
    db.close()
    assert found == [("ok",)]


@pytest.mark.parametrize("old", [False, True], ids=["new", "of-an-older-deploy"])
def test_two_processes_that_write_at_once_lose_no_row(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "ledger.db"
    before = older_ledger(path, version=2) if old else 0
    each = 20 if old else 200
    writers = [writer(path, model, each) for model in ("a:1b", "b:2b")]
    acknowledged = [process.communicate(timeout=100)[0].split() for process in writers]
    assert [process.returncode for process in writers] == [0, 0]
    ledger = Ledger(path)
    assert len(ledger.bench_runs(1000)) == before + 2 * each
    for model, numbers in zip(("a:1b", "b:2b"), acknowledged, strict=True):
        assert [str(row["id"]) for row in ledger.figures(model=model)] == numbers[::-1]
    assert_whole(path)


def test_a_writer_that_is_killed_at_any_moment_loses_nothing_that_it_had_acknowledged(
    tmp_path: Path,
) -> None:
    path, rng = tmp_path / "ledger.db", random.Random(20261126)
    acknowledged: list[int] = []
    for _ in range(_KILLS):
        process = writer(path, "a:1b", 10_000, samples_kept=5, times=200)
        assert process.stdout
        acknowledged.append(int(process.stdout.readline()))
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        acknowledged += map(int, process.communicate(timeout=20)[0].split())
        assert process.returncode == -signal.SIGKILL
        assert_whole(path)
        stored = [row["id"] for row in Ledger(path).figures()]
        assert set(acknowledged) <= set(stored)
        # A commit of which nobody was told yet is the only row that may be there besides.
        assert len(stored) <= len(acknowledged) + 1
        acknowledged = stored
    newest = Ledger(path).bench_runs(1000)
    kept = sum(bool(bench["samples"]) for bench in newest)
    assert kept == min(len(newest), BASELINE_RUNS)  # the baseline of their key


def test_whoever_writes_shuts_others_out_before_it_reads(tmp_path: Path) -> None:
    """Else two would decide by the same state, and one of them could not write any more."""
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.record_bench(document())
    other = threading.Thread(target=ledger.record_bench, args=(document(),))
    with ledger.writing() as db:
        other.start()
        other.join(0.3)
        [(count,)] = db.execute("SELECT count(*) FROM bench_runs")
        assert (other.is_alive(), count) == (True, 1)
    other.join(20)
    assert len(ledger.figures()) == 2
