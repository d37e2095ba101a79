"""`deploy bench` on a real server: its figures are so, and a loss is told from noise."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.runtime.runner import runners_of
from tests.conftest import RunDeploy
from tests.loop.answers import answer
from tests.real import tiny
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyModel

pytestmark = pytest.mark.timeout(600)
MODEL = "qwen2.5:0.5b"
BUSY = "while True: pass"


@pytest.fixture
def stocked(server: RealServer, tiny_models: dict[str, TinyModel]) -> RealServer:
    """A server that has one tiny model, deployed by nobody."""
    tiny.create(server, tiny_models[MODEL])
    return server


def bench(
    run_deploy: RunDeploy, server: RealServer, *flags: str | Path, budget: str | None = "10s"
) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the document of a measurement."""
    env = {"OLLAMA_HOST": server.url}
    bound = ("--time-budget", budget) if budget else ()
    found = run_deploy("bench", MODEL, "--quick", *bound, "--json", *flags, env=env, timeout=300)
    assert found.returncode in (0, 7, 8, 9), found.stderr
    return found.returncode, answer(found, "bench")


@contextmanager
def others_at_work() -> Iterator[None]:
    """Keep every processor busy with something else."""
    busy = [
        subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.DEVNULL)
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


@contextmanager
def half_as_fast(server: RealServer) -> Iterator[None]:
    """Stop the runners of a server for every second slice of 15 ms, as a tight quota does."""
    ended = threading.Event()

    def hold() -> None:
        while not ended.is_set():
            pids = [runner.pid for runner in runners_of(server.pid)]
            for action in (signal.SIGSTOP, signal.SIGCONT):
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, action)
                time.sleep(0.015)

    thread = threading.Thread(target=hold, name="holds-runners")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def quiet_run(run_deploy: RunDeploy, server: RealServer) -> dict[str, Any]:
    """Return a run that noise did not spoil; on a busy box it takes some."""
    for _ in range(6):
        code, found = bench(run_deploy, server)
        assert (code == 9) is (found["comparison"]["outcome"] == "inconclusive")
        if code == 0 and found["stopped"] == "complete":
            return found
    pytest.fail("this box was never quiet")


def test_a_slowed_server_is_a_confirmed_regression_and_a_busy_box_is_none(
    run_deploy: RunDeploy, stocked: RealServer, home: Home
) -> None:
    ledger, first = Ledger(home.ledger), quiet_run(run_deploy, stocked)
    for _ in range(2):  # the nights after it, alike
        ledger.record_bench(first)
    good = [d["id"] for d in ledger.baseline(first["key"])]
    assert len(good) == 3

    with others_at_work():
        code, noisy = bench(run_deploy, stocked)
    assert code == 9
    assert noisy["comparison"]["outcome"] == "inconclusive"
    assert noisy["key"] == first["key"]
    assert [d["id"] for d in ledger.baseline(noisy["key"])] == good

    with half_as_fast(stocked):
        code, slow = bench(run_deploy, stocked, budget=None)  # room for the second trial
    assert slow["key"] == first["key"]
    assert (code, slow["comparison"]["outcome"]) == (8, "regressed"), slow["comparison"]
    assert slow["comparison"]["confirmed_by"] == slow["id"] + 1
    second = ledger.bench_run(slow["id"] + 1)
    assert second is not None
    assert second["comparison"]["confirms"] == slow["id"]
    stored = ledger.bench_run(slow["id"])
    assert stored is not None
    assert stored["comparison"]["outcome"] == "regressed"
    assert [d["id"] for d in ledger.baseline(slow["key"])] == good


def test_what_is_measured_is_what_the_kernel_and_the_server_say(
    run_deploy: RunDeploy, stocked: RealServer
) -> None:
    flags = ("--concurrency", "1,2", "--context", "1024")  # little to fill
    _, found = bench(run_deploy, stocked, *flags, budget="40s")

    [runner] = runners_of(stocked.pid)
    assert found["memory"]["resident_bytes"] == runner.peak_rss_bytes
    assert found["effective"]["context"] == runner.context == found["context"]
    assert found["effective"]["parallel"] == runner.parallel
    counting = [s for s in found["samples"] if s["outcome"] == "ok"]
    assert counting
    assert {s["prompt_tokens"] - s["want_prompt_tokens"] for s in counting} == {0}
    assert {s["tokens"] - s["want_tokens"] for s in counting} == {0}
    assert not found["clocks_disagree"]
    gaps = [s["client_decode_tps"] / s["decode_tps"] - 1 for s in counting]
    assert abs(sorted(gaps)[len(gaps) // 2]) < 0.03
    assert [load["file_cache"] for load in found["loads"]][1:] == ["warm"]
    assert found["memory"]["filled_share"] >= 0.9
    assert found["promised"]["prompt_tokens"] >= 0.9 * found["context"]
    assert [level["users"] for level in found["concurrency"]] == [1, 2]
    assert found["concurrency"][1]["queued"] is True


def test_the_time_budget_bounds_all_of_it_and_what_it_left_out_is_named(
    run_deploy: RunDeploy, stocked: RealServer
) -> None:
    env = {"OLLAMA_HOST": stocked.url}
    begun = time.monotonic()
    found = run_deploy("bench", MODEL, "--full", "--time-budget", "12s", "--json", env=env)
    took_s = time.monotonic() - begun
    document = answer(found, "bench")
    assert found.returncode in (0, 9), found.stderr
    assert took_s < 3 * 12
    assert document["time_budget_s"] == 12
    assert document["left_out"]
    assert document["metrics"]["decode_tps"] or document["stopped"] == "deadline"


def test_an_estimate_that_does_not_hold_is_exit_7_only_when_asked_for(
    run_deploy: RunDeploy, stocked: RealServer, tmp_path: Path
) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text("schema = 1\nmemory_pass = 0\nmemory_warn = 0\n")
    code, found = bench(run_deploy, stocked, "--check", "--profile", strict)
    assert found["verdict"]["outcome"] == "failed"
    assert code in (7, 9)
    code, found = bench(run_deploy, stocked, "--profile", strict)
    assert found["verdict"]["outcome"] == "failed"
    assert code in (0, 9)


def test_a_run_is_accepted_as_the_baseline_and_runs_of_another_kind_do_not_compare(
    run_deploy: RunDeploy, stocked: RealServer, home: Home
) -> None:
    first = quiet_run(run_deploy, stocked)
    found = run_deploy("bench", "accept", str(first["id"]))
    assert found.returncode == 0, found.stderr
    assert f"run {first['id']} of {MODEL} is the baseline of its kind" in found.stdout
    pinned = Ledger(home.ledger).pinned(first["key"])
    assert pinned is not None
    assert pinned["id"] == first["id"]
    found = run_deploy(
        "bench", MODEL, "--context", "1024", "--compare", str(first["id"]),
        env={"OLLAMA_HOST": stocked.url},
    )  # fmt: skip
    assert found.returncode == 9
    what = f"error: run {first['id']} is of another kind: option num_ctx 1024 instead of 4096"
    assert what in found.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--quick", "--full"), "--quick and --full exclude each other"),
        (("--time-budget", "soon"), "'soon' is no duration: write 90s, 5m or 1h"),
        (("--time-budget", "1s"), "1 s measure nothing"),
        (("--concurrency", "1,x"), "'1,x': write numbers of users"),
        (("--concurrency", "99"), "from 1 to 64 users"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_asked(
    run_deploy: RunDeploy, flags: tuple[str, ...], said: str
) -> None:
    found = run_deploy("bench", MODEL, *flags, env={"OLLAMA_HOST": f"127.0.0.1:{free_port()}"})
    assert found.returncode == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("words", [("accept", "7"), (MODEL, "--compare", "7"), ("--compare", "7")])
def test_a_run_that_does_not_exist_is_named(
    run_deploy: RunDeploy, stocked: RealServer, words: tuple[str, ...]
) -> None:
    found = run_deploy("bench", *words, env={"OLLAMA_HOST": stocked.url})
    assert found.returncode == 2
    assert "error: there is no bench run 7" in found.stderr
    assert "hint: `deploy history" in found.stderr
