"""What holds for every runbook: one line, the lock, the deadline, the event log, --json."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from orchestrator.lock import only_one
from orchestrator.runbook import RUNBOOKS
from orchestrator.runbook.events import EventLog
from orchestrator.units import MIB
from tests.loop.answers import answer
from tests.runbook.box import Box, last_line

pytestmark = pytest.mark.timeout(300)


def test_the_list_names_each_with_its_deadline(box: Box) -> None:
    found = answer(box.deploy("runbook", "list", "--json"), "runbooks")
    assert {b["name"]: b["deadline_s"] for b in found["runbooks"]} == {
        "watchdog": 900, "nightly-bench": 3600, "refresh": 21600,
    }  # fmt: skip
    text = box.deploy("runbook", "list").stdout
    assert all(name in text for name in RUNBOOKS)
    wrong = box.deploy("runbook", "run", "moon")
    assert wrong.returncode == 2
    assert "'moon' is not one of" in wrong.stderr


def test_the_document_says_the_same_as_code_and_line(box: Box, tmp_path: Path) -> None:
    good = box.runbook("watchdog", "--json")
    document = answer(good, "runbook")
    assert (good.returncode, good.stderr) == (0, "")
    assert (document["outcome"], document["code"], document["error"]) == ("ok", 0, None)
    other = tmp_path / "other.toml"
    other.write_text(f'{box.profile.read_text()}alias = "deploy-other"\n')
    bad = box.deploy("runbook", "run", "nightly-bench", "--profile", other, "--json")
    document = answer(bad, "runbook")
    assert (document["outcome"], document["code"], bad.returncode) == ("failed", 2, 2)
    error = document["error"]
    assert error["name"] == "NothingDeployed"
    assert last_line(bad.stderr) == (
        f"deploy runbook nightly-bench: exit 2: {error['message']} "
        f"({error['hint']}; log: {document['log']})"
    )


def test_a_profile_that_does_not_read_is_one_line_too(box: Box) -> None:
    found = box.deploy("runbook", "run", "watchdog", "--profile", "moon")
    assert found.returncode == 2
    assert "exit 2: there is no profile 'moon' (one of: " in last_line(found.stderr)
    assert box.events()[-1]["error"] == "ProfileInvalid"


def test_a_fault_of_ours_is_one_line_with_its_crash_file(box: Box, tmp_path: Path) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(
        textwrap.dedent("""\
        from orchestrator.runbook import watchdog
        from orchestrator.cli.main import main
        watchdog.run = lambda order, progress: 1 / 0
        main()
    """)
    )
    found = _script(box, script, "watchdog")
    assert found.returncode == 1
    line = last_line(found.stderr)
    assert "exit 1: a fault of deploy itself: ZeroDivisionError: division by zero" in line
    assert "crash-" in line


def test_the_second_run_says_who_holds_the_lock_and_since_when(box: Box) -> None:
    with only_one(box.home, box.environment, "auto"):
        found = box.runbook("watchdog")
    assert found.returncode == 75
    line = last_line(found.stderr)
    assert "exit 75: another run holds " in line
    assert f"(`deploy auto`, pid {os.getpid()}, since 20" in line
    assert box.events()[-1]["event"] == "runbook.failed"


def test_the_deadline_ends_a_run_that_waits_for_a_stopped_server(box: Box, tmp_path: Path) -> None:
    script = tmp_path / "hurried.py"
    script.write_text(
        textwrap.dedent("""\
        from dataclasses import replace
        from orchestrator.cli.main import main
        from orchestrator.runbook import RUNBOOKS
        RUNBOOKS["watchdog"] = replace(RUNBOOKS["watchdog"], deadline_s=2)
        main()
    """)
    )
    os.kill(box.server.pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        found = _script(box, script, "watchdog")
        assert time.monotonic() - started < 3.8  # the read alone would wait for 4 s
        hung = box.runbook("watchdog")
    finally:
        os.kill(box.server.pid, signal.SIGCONT)
    assert found.returncode == 143
    assert "exit 143: not done within 2.0 s (its log says what took so long" in last_line(
        found.stderr
    )
    assert hung.returncode == 4
    assert box.runbook("watchdog").returncode == 0


def test_sigterm_ends_it_with_one_line(box: Box) -> None:
    os.kill(box.server.pid, signal.SIGSTOP)
    try:
        run = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "runbook", "run", "watchdog",
             "--profile", str(box.profile)],
            env=box.environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(2)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=30)
    finally:
        os.kill(box.server.pid, signal.SIGCONT)
    assert run.returncode == 143
    assert "exit 143: terminated by SIGTERM" in last_line(said)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a disk of its own: needs root")
def test_a_full_disk_does_not_stop_it_and_is_said(box: Box) -> None:
    before = len(box.events())
    full = "mount -t tmpfs -o size=16k tmpfs {state}; cat /dev/zero > {state}/filler 2>/dev/null;"
    found = _mounted(box, full)
    assert found.returncode == 0, found.stderr
    assert found.stdout == ""
    line = last_line(found.stderr)
    assert line.startswith("deploy runbook watchdog: exit 0: done (log: ")
    assert line.endswith("which cannot be written: No space left on device)")
    assert len(box.events()) == before
    read_only = _mounted(box, "mount -t tmpfs -o ro tmpfs {state};")
    assert read_only.returncode == 6
    line = last_line(read_only.stderr)
    assert "exit 6: cannot lock " in line
    assert line.endswith("which cannot be written: Read-only file system)")


def test_half_a_line_is_taken_back(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "state" / "runbooks.jsonl")
    log.write('{"a": 1}')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (14, hard))  # as a disk with 5 bytes left
    try:
        log.write('{"b": 2}')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.path.read_text() == '{"a": 1}\n'
    assert log.failure == "No space left on device"
    log.write('{"c": 3}')
    assert log.path.read_text() == '{"a": 1}\n{"c": 3}\n'


def test_the_log_is_rotated_at_5_mib_and_one_before_it_is_kept(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "runbooks.jsonl")
    log.path.write_bytes(b"x" * 5 * MIB)
    log.rotate()
    assert not (tmp_path / "runbooks.jsonl.1").exists()
    log.write("{}")
    log.rotate()
    assert (tmp_path / "runbooks.jsonl.1").stat().st_size == 5 * MIB + 3
    log.write("{}")
    assert log.path.read_text() == "{}\n"


def test_every_event_has_its_time_its_name_and_its_run(box: Box) -> None:
    box.runbook("watchdog")
    for event in box.events():
        assert {"timestamp", "event", "runbook", "pid"} <= event.keys()
        assert event["timestamp"].endswith("Z")
        assert event["event"].count(".") >= 1
    begin = next(e for e in box.events() if e["event"] == "runbook.begin")
    assert begin["version"]
    assert "seconds" in box.events()[-1]


def _script(box: Box, script: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), "runbook", "run", name, "--profile", str(box.profile)],
        env=box.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _mounted(box: Box, mount: str) -> subprocess.CompletedProcess[str]:
    """Run the watchdog where only it sees another disk below its state."""
    command = f"{mount} exec {sys.executable} -m orchestrator runbook run watchdog --profile $P"
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", command.format(state=box.home.state)],
        env=box.environment | {"P": str(box.profile)},
        cwd=box.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
