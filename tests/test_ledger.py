"""The ledger keeps what was promised beside what was measured, and one current per alias."""

import json
import os
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import DiskFull
from orchestrator.ledger import Ledger

MACHINE = {"name": "a box", "digest": "0123456789abcdef"}
HOST = "http://127.0.0.1:11434"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "deep" / "ledger.db")


def deployment(tag: str = "qwen3:8b", state: str = "current", **more: Any) -> dict[str, Any]:
    return {
        "tag": tag,
        "model": f"deploy/{tag}-ctx4096",
        "digest": tag,
        "state": state,
        "alias": "deploy-current:latest",
        "server_host": HOST,
        "machine": MACHINE,
        "deployed_at": "2026-01-01T00:00:00Z",
        **more,
    }


def bench(model: str = "qwen3:8b") -> dict[str, Any]:
    return {"model": model, "machine": MACHINE, "started_at": "2026-01-01", "samples": [1, 2.5]}


def record(ledger: Ledger, document: dict[str, Any], run: dict[str, Any] | None = None) -> int:
    """Begin a deployment, measure it, and end it as its state says."""
    number = ledger.begin(document, {"memory": 1})
    if run:
        ledger.note(number, document, run)
    if document["state"] == "current":
        ledger.accept(number, document)
    elif document["state"] == "failed":
        ledger.end(number, "failed", "too large")
    return number


def test_a_ledger_that_does_not_exist_is_empty_and_reading_makes_none(ledger: Ledger) -> None:
    assert ledger.current(HOST, "deploy-current:latest") is None
    assert ledger.currents(HOST) == ledger.deployments(9) == ledger.bench_runs(9) == []
    assert not ledger.path.exists()


def test_a_deployment_and_its_measurement_are_one(ledger: Ledger) -> None:
    number = record(ledger, deployment(), bench())
    found = ledger.current(HOST, "deploy-current:latest")
    assert found
    assert found.items() >= {**deployment(), "id": number}.items()
    assert found["rolled_back_from"] is None  # of an older deploy: no such key
    [run] = ledger.bench_runs(9)
    assert run.items() >= {**bench(), "id": 1, "deployment": number, "standing": "out"}.items()


def test_a_bench_run_may_stand_alone(ledger: Ledger) -> None:
    assert [ledger.record_bench(bench(m)) for m in ("a", "b", "c")] == [1, 2, 3]
    assert [r["model"] for r in ledger.bench_runs(2)] == ["c", "b"]
    assert ledger.bench_runs(1)[0]["deployment"] is None


def test_the_one_before_becomes_previous_and_the_one_before_that_is_removed(
    ledger: Ledger,
) -> None:
    for tag in ("a:1b", "b:2b", "c:3b"):
        record(ledger, deployment(tag))
    states = [(d["tag"], d["state"]) for d in ledger.deployments(9)]
    assert states == [("c:3b", "current"), ("b:2b", "previous"), ("a:1b", "removed")]


def test_a_failed_deployment_leaves_the_current_one(ledger: Ledger) -> None:
    record(ledger, deployment("a:1b"))
    record(ledger, deployment("b:2b", "failed"))
    found = ledger.current(HOST, "deploy-current:latest")
    assert found
    assert found["tag"] == "a:1b"


def test_aliases_and_servers_do_not_disturb_each_other(ledger: Ledger) -> None:
    record(ledger, deployment("a:1b"))
    record(ledger, deployment("b:2b", alias="deploy-chat:latest"))
    record(ledger, deployment("c:3b", server_host="http://10.0.0.1:11434"))
    assert [d["tag"] for d in ledger.currents(HOST)] == ["b:2b", "a:1b"]


def test_a_run_that_breaks_in_the_middle_leaves_a_candidate_and_the_current_one(
    ledger: Ledger,
) -> None:
    record(ledger, deployment("a:1b"))
    with pytest.raises(KeyError):
        record(ledger, deployment("b:2b"), {"model": "no machine in it"})
    states = [(d["tag"], d["state"]) for d in ledger.deployments(9)]
    assert states == [("b:2b", "candidate"), ("a:1b", "current")]
    assert [d["tag"] for d in ledger.candidates(HOST)] == ["b:2b"]
    assert ledger.bench_runs(9) == []


def test_a_failure_keeps_its_reason(ledger: Ledger) -> None:
    record(ledger, deployment("b:2b", "failed"))
    [found] = ledger.deployments(9)
    assert (found["state"], found["failure"]) == ("failed", "too large")


def test_a_candidate_that_no_source_has_leaves_no_trace(ledger: Ledger) -> None:
    ledger.forget(ledger.begin(deployment(), {}))
    kept = record(ledger, deployment())
    ledger.forget(kept)
    assert [d["id"] for d in ledger.deployments(9)] == [kept]


def test_rollback_swaps_and_swaps_back(ledger: Ledger) -> None:
    alias = "deploy-current:latest"
    for tag in ("a:1b", "b:2b"):
        record(ledger, deployment(tag))
    for serves, waits in (("a:1b", "b:2b"), ("b:2b", "a:1b")):
        previous = ledger.previous(HOST, alias)
        assert previous
        ledger.swap(ledger.current(HOST, alias), {**previous, "note": serves})
        found, before = ledger.current(HOST, alias), ledger.previous(HOST, alias)
        assert found
        assert before
        assert (found["tag"], found["note"], before["tag"]) == (serves, serves, waits)
    assert {d["tag"] for d in ledger.in_use(HOST)} == {"a:1b", "b:2b"}


def test_the_same_model_proven_anew_leaves_the_previous_one(ledger: Ledger) -> None:
    for tag in ("a:1b", "b:2b", "b:2b"):
        record(ledger, deployment(tag))
    states = [(d["tag"], d["state"]) for d in ledger.deployments(9)]
    assert states == [("b:2b", "current"), ("b:2b", "removed"), ("a:1b", "previous")]


def test_what_was_removed_is_in_use_no_more(ledger: Ledger) -> None:
    ledger.end(record(ledger, deployment()), "removed")
    assert ledger.in_use(HOST) == []
    assert ledger.deployments(9)[0]["state"] == "removed"


def test_the_last_verification_counts(ledger: Ledger) -> None:
    number = record(ledger, deployment())
    assert ledger.verification(number) is None
    for holds in (True, False):
        ledger.record_verification(
            {"deployment": number, "verified_at": "2026-01-01T00:00:00Z", "holds": holds}
        )
    found = ledger.verification(number)
    assert found
    assert found["holds"] is False
    assert ledger.verification(number + 1) is None


def test_something_better_is_seen_since_its_first_sight(ledger: Ledger) -> None:
    seen = [ledger.sighted(HOST, "a", "qwen3:14b", now) for now in (1000.0, 1300.0, 1700.0)]
    assert seen == [0, 300, 700]
    assert ledger.sighted(HOST, "other", "qwen3:14b", 1800.0) == 0
    assert ledger.sighted(HOST, "a", "qwen3:32b", 1900.0) == 0
    assert ledger.sighted(HOST, "a", "qwen3:14b", 2000.0) == 0


def test_a_new_deployment_forgets_what_was_sighted(ledger: Ledger) -> None:
    alias = "deploy-current:latest"
    ledger.sighted(HOST, alias, "qwen3:14b", 1000.0)
    record(ledger, deployment())
    assert ledger.sighted(HOST, alias, "qwen3:14b", 2000.0) == 0


def test_many_runs_may_open_a_new_ledger_at_once(ledger: Ledger) -> None:
    failures: list[BaseException] = []
    gate = threading.Barrier(8)

    def write(number: int) -> None:
        gate.wait()
        try:
            record(Ledger(ledger.path), deployment(f"m:{number}b"))
        except BaseException as e:  # noqa: BLE001 - reported below
            failures.append(e)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(ledger.deployments(99)) == 8
    assert len(ledger.currents(HOST)) == 1


def test_a_file_that_is_no_ledger_is_one_clear_error(ledger: Ledger) -> None:
    ledger.path.parent.mkdir(parents=True)
    ledger.path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DiskFull, match="cannot be used") as caught:
        record(ledger, deployment())
    assert str(ledger.path) in caught.value.what
    assert ledger.path.read_bytes().startswith(b"no database")


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskFull, match="cannot be used"):
        record(Ledger(tmp_path / "file" / "ledger.db"), deployment())


def test_documents_stay_readable_by_others(ledger: Ledger) -> None:
    record(ledger, deployment("größe:1b"), bench())
    db = sqlite3.connect(ledger.path)
    [(mode,)] = db.execute("PRAGMA journal_mode")
    [(text,)] = db.execute("SELECT document FROM deployments")
    [(machine,)] = db.execute("SELECT document FROM machines")
    db.close()
    assert mode == "wal"
    assert json.loads(text)["tag"] == "größe:1b"
    assert json.loads(machine) == {"memory": 1}


EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["current", "failed", "kept"])),
    max_size=8,
)


@settings(deadline=None, max_examples=20)
@given(events=EVENTS)
def test_an_alias_has_at_most_one_current_and_it_is_the_last(
    events: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("law") / "ledger.db")
    for number, (alias, state) in enumerate(events):
        record(ledger, deployment(f"m:{number}b", state, alias=alias))
    for alias in ("a", "b"):
        mine = [d for d in ledger.deployments(99) if d["alias"] == alias]
        won = [n for n, (name, state) in enumerate(events) if (name, state) == (alias, "current")]
        current = [d["tag"] for d in mine if d["state"] == "current"]
        previous = [d["tag"] for d in mine if d["state"] == "previous"]
        assert current == [f"m:{n}b" for n in won[-1:]]
        assert previous == [f"m:{n}b" for n in won[-2:-1]]


def test_a_disk_that_went_read_only_can_still_be_read(tmp_path: Path) -> None:
    """As root no mode bit stops a write, so the folder is bound read-only into itself."""
    ledger = Ledger(tmp_path / "disk" / "ledger.db")
    number = ledger.record_bench(bench())
    mount = ["mount", "--bind", str(tmp_path / "disk"), str(tmp_path / "disk")]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        (tmp_path / "disk").chmod(0o500)
    else:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path / "disk")], check=True)
    try:
        assert [r["id"] for r in ledger.bench_runs(9)] == [number]
        with pytest.raises(DiskFull, match="cannot be used"):
            ledger.record_bench(bench())
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=False, capture_output=True)
        (tmp_path / "disk").chmod(0o700)


def test_something_better_that_was_not_there_the_next_time_is_forgotten(ledger: Ledger) -> None:
    ledger.forget_sighting(HOST, "a")
    assert not ledger.path.exists()
    ledger.sighted(HOST, "a", "qwen3:14b", 1000.0)
    ledger.forget_sighting(HOST, "a")
    assert ledger.sighted(HOST, "a", "qwen3:14b", 9000.0) == 0
