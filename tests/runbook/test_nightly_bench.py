"""The nightly measurement of what is deployed: recorded, judged, and told only if it is bad."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from tests.real import tiny
from tests.real.tiny import TinyModel
from tests.runbook.box import ALIAS, MODEL, Box, last_line, wait_for

pytestmark = pytest.mark.timeout(300)


def test_a_good_measurement_is_recorded_and_nothing_is_said(box: Box) -> None:
    deployments, runs = box.rows()
    found = box.runbook("nightly-bench")
    while found.returncode == 9:  # so it ends on a busy box, and says so
        assert "were taken on a quiet box" in last_line(found.stderr)
        _, runs = box.rows()
        assert runs < 8, "this box is never quiet"
        found = box.runbook("nightly-bench")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert box.rows() == (deployments, runs + 1)
    bench = Ledger(box.home.ledger).bench_runs(1)[0]
    measured = next(e for e in reversed(box.events()) if e["event"] == "bench.measured")
    assert measured["bench_run"] == bench["id"]
    assert measured["decode_tps"] == bench["metrics"]["decode_tps"]["median"]
    assert measured["outcome"] == bench["verdict"]["outcome"]
    assert box.events()[-1]["did"] == [f"bench run {bench['id']} of {MODEL}: {measured['outcome']}"]
    loaded = box.loaded()
    assert loaded
    assert loaded["expires_at"] > "2100"  # as it was before


def test_a_promise_that_is_not_kept_ends_with_7_and_the_sentence_of_its_check(
    box: Box, strict: Path
) -> None:
    found = box.deploy("runbook", "run", "nightly-bench", "--profile", strict)
    assert found.returncode == 7
    bench = Ledger(box.home.ledger).bench_runs(1)[0]
    check = next(c for c in bench["verdict"]["checks"] if c["outcome"] == "failed")
    line = last_line(found.stderr)
    assert f"exit 7: bench run {bench['id']} of {MODEL}: {check['name']}: {check['detail']}" in line
    assert box.loaded()


def test_another_model_loaded_meanwhile_makes_it_inconclusive(
    box: Box, tiny_models: dict[str, TinyModel]
) -> None:
    other = tiny.create(box.server, tiny_models["qwen3:0.6b"])
    run = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "runbook", "run", "nightly-bench",
         "--profile", str(box.profile)],
        env=box.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for("measure", lambda: any(
        e["event"] == "measure.begin" and e["pid"] == run.pid for e in box.events()
    ), 60)  # fmt: skip
    box.server.client().generate(model=other, prompt="", keep_alive="5m")
    _, said = run.communicate(timeout=200)
    box.server.client().generate(model=other, prompt="", keep_alive=0)
    assert run.returncode == 9
    assert f"{other} was loaded meanwhile" in last_line(said)
    assert box.digests()[ALIAS] == box.digests()[MODEL]
