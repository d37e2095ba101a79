"""What a server's log got since a mark."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.machine import ServerState
from orchestrator.runtime import Binary, record, server_log
from orchestrator.runtime.environment import MARK
from orchestrator.runtime.record import Running
from orchestrator.runtime.server_log import ServerLog
from tests.real.server import RealServer

UNIT = ServerState(host="http://127.0.0.1:11434", pid=812, where="systemd")


@pytest.fixture
def log(tmp_path: Path) -> ServerLog:
    path = tmp_path / "server.log"
    path.write_text("before\n")
    found = path.stat()
    return ServerLog(path=path, offset=found.st_size, inode=found.st_ino)


def _path(log: ServerLog) -> Path:
    assert log.path
    return log.path


def test_the_log_of_a_real_server_of_ours(
    runtime_binary: Binary, tmp_path: Path, home: Home
) -> None:
    server = RealServer(runtime_binary.path, runtime_binary.library_path, tmp_path / "server")
    home.state.mkdir(parents=True)
    mark = record.new_mark(home, server.url)
    server.settings[MARK] = mark
    with server:
        running = Running(
            host=server.url, pid=server.pid, pgid=server.pid, create_time=0, kind="embedded",
            binary=str(server.binary), log=str(server.log), models_path=None, settings={},
            mark=mark,
        )  # fmt: skip
        record.write(record.pid_file(home, server.url), running)
        log = ServerLog.of(home, ServerState(host=server.url, pid=server.pid))
        assert log.since_mark() == ""
        server.client().list()
        time.sleep(0.2)
        text = log.since_mark()

    assert text
    assert "/api/tags" in text
    assert "Listening on" not in text
    assert log.why is None


def test_a_log_that_was_cut_or_replaced_is_read_from_its_start(log: ServerLog) -> None:
    _path(log).write_text("cut\n")
    assert log.since_mark() == "cut\n"
    _path(log).rename(_path(log).with_suffix(".1"))
    _path(log).write_text("a new one, longer than the old\n")
    assert log.since_mark() == "a new one, longer than the old\n"


def test_of_much_the_end_is_kept(log: ServerLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_log, "_MOST_BYTES", 10)
    with _path(log).open("a") as file:
        file.write("0123456789abc\xe9\n")

    assert log.since_mark() == "56789abc\xe9\n"[-9:]


def test_a_log_that_is_gone_says_so(log: ServerLog) -> None:
    _path(log).unlink()

    assert log.since_mark() is None
    assert "No such file" in (log.why or "")


@pytest.mark.parametrize(
    ("server", "why"),
    [
        pytest.param(ServerState(where="container", pid=5), "container", id="a-container"),
        pytest.param(ServerState(local=False), "remote", id="another-box"),
        pytest.param(ServerState(pid=5, where="process"), "no server of ours", id="somebody's"),
    ],
)
def test_a_server_whose_log_is_nowhere_to_be_found(
    home: Home, tmp_path: Path, server: ServerState, why: str
) -> None:
    log = ServerLog.of(home, replace(server, host="http://127.0.0.1:1"), tmp_path)

    assert log.since_mark() is None
    assert why in (log.why or "")


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs in place of systemd's, for a unit whose main process is 812."""
    monkeypatch.setattr("orchestrator.runtime.unit.BOOTED", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    _program(tmp_path / "systemctl", "echo LoadState=loaded; echo MainPID=812")
    return tmp_path


def _program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_units_log_is_in_the_journal(unit: Path, home: Home) -> None:
    _program(unit / "journalctl", 'echo "$@"')
    before = time.time()
    log = ServerLog.of(home, UNIT)
    text = log.since_mark()

    assert text
    assert "--unit=ollama.service" in text
    assert "--output=cat" in text
    since = float(text.partition("--since=@")[2].split()[0])
    assert before - 0.01 <= since <= time.time()


def test_the_real_journalctl_takes_that_command(home: Home, unit: Path) -> None:
    """Here it has nothing to show, as for an account that may not read it."""
    assert not (unit / "journalctl").exists()
    log = ServerLog.of(home, UNIT)

    assert log.since_mark() is None
    assert log.why
    nothing = "the journal shows nothing of ollama.service to this account"
    assert log.why == nothing or "No such file" in log.why  # where there is no systemd at all


def test_another_process_than_the_units_has_no_journal(unit: Path, home: Home) -> None:
    _program(unit / "journalctl", "echo somebody else")
    log = ServerLog.of(home, replace(UNIT, pid=813))

    assert log.since_mark() is None
    assert "no unit's" in (log.why or "")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param("echo no such journal >&2; exit 1", "no such journal", id="fails"),
        pytest.param("exec sleep 20", "did not answer within 0.5 s", id="hangs"),
        pytest.param("true", "to this account", id="says-nothing"),
    ],
)
def test_a_journal_that_cannot_be_read(
    unit: Path, home: Home, monkeypatch: pytest.MonkeyPatch, body: str, why: str
) -> None:
    monkeypatch.setattr(server_log, "_LIMIT_S", 0.5)
    _program(unit / "journalctl", body)
    log = ServerLog.of(home, UNIT)

    assert log.since_mark() is None
    assert why in (log.why or "")
