import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ollama
import psutil
import pytest

from orchestrator.errors import Busy, InvalidInput, ServerUnreachable
from orchestrator.home import Home
from orchestrator.runtime import disk, lifecycle, owner, record
from orchestrator.runtime.address import version_at
from orchestrator.runtime.binary import Binary
from orchestrator.runtime.environment import server_environment
from orchestrator.runtime.record import Running
from orchestrator.runtime.runner import runners_of
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyModel

_ROOT = Path(__file__).parents[2]


def _nothing(_: str) -> None:
    pass


@dataclass
class Box:
    """One place to start servers in: the arguments that every call takes."""

    binary: Binary
    home: Home
    url: str
    environ: dict[str, str]

    def start(self, **settings: str) -> Running:
        return lifecycle.start(
            self.binary,
            self.home,
            host=self.url,
            environ=self.environ,
            settings=settings,
            report=_nothing,
        )

    def stop(self) -> lifecycle.Stopped:
        return lifecycle.stop(self.home, host=self.url, report=_nothing)

    def status(self) -> owner.RuntimeStatus:
        return owner.status(self.home, {"OLLAMA_HOST": self.url})

    @property
    def pid_file(self) -> Path:
        return record.pid_file(self.home, self.url)


@pytest.fixture
def box(runtime_binary: Binary, home: Home, tmp_path: Path) -> Iterator[Box]:
    person = tmp_path / "person"
    person.mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(person)}
    environ["OLLAMA_MODELS"] = str(tmp_path / "models")
    box = Box(runtime_binary, home, f"http://127.0.0.1:{free_port()}", environ)
    yield box
    lifecycle.stop(home, report=_nothing)


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 10
    while not _gone(pid):
        assert time.monotonic() < end
        time.sleep(0.01)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    _wait_until_gone(pid)


def test_start_answer_stop(box: Box, tmp_path: Path) -> None:
    running = box.start()

    assert version_at(box.url) == "0.9.3"
    assert os.getpgid(running.pid) == os.getsid(running.pid) == running.pid
    assert json.loads(box.pid_file.read_text()) == running.to_json()
    status = box.status()
    assert (status.owner, status.answering, status.version) == ("ours", True, "0.9.3")
    assert (status.pid, status.kind) == (running.pid, "embedded")
    assert status.models_path == str(tmp_path / "models")
    assert status.settings["OLLAMA_NUM_PARALLEL"] == "1"
    assert status.log is not None
    assert "Listening on" in Path(status.log).read_text()

    stopped = box.stop()

    assert [s.pid for s in stopped.servers] == [running.pid]
    assert _gone(running.pid)
    assert not box.pid_file.exists()
    assert box.status().owner == "none"
    assert box.stop() == lifecycle.Stopped()


def test_starting_twice_gives_the_same_server(box: Box) -> None:
    assert box.start() == box.start()


def test_starting_again_with_other_settings_says_so(box: Box) -> None:
    box.start()
    said: list[str] = []

    lifecycle.start(
        box.binary,
        box.home,
        host=box.url,
        environ=box.environ,
        settings={"OLLAMA_NUM_PARALLEL": "3"},
        report=said.append,
    )

    assert any("another OLLAMA_NUM_PARALLEL" in line for line in said)


def test_settings_reach_the_server(box: Box) -> None:
    running = box.start(OLLAMA_NUM_PARALLEL="2", OLLAMA_KV_CACHE_TYPE="q8_0")

    env = psutil.Process(running.pid).environ()
    assert env["OLLAMA_NUM_PARALLEL"] == "2"
    assert env["OLLAMA_KV_CACHE_TYPE"] == "q8_0"
    assert env["OLLAMA_NOPRUNE"] == "1"
    assert running.settings["OLLAMA_KV_CACHE_TYPE"] == "q8_0"


@pytest.mark.parametrize("asked", [{}, {"OLLAMA_NUM_PARALLEL": "0"}, {"OLLAMA_NUM_PARALLEL": ""}])
def test_slots_are_never_left_to_the_server(
    runtime_binary: Binary, home: Home, tmp_path: Path, asked: dict[str, str]
) -> None:
    env = _environment(runtime_binary, home, {"HOME": str(tmp_path), **asked})

    assert env["OLLAMA_NUM_PARALLEL"] == "1"


def _environment(binary: Binary, home: Home, environ: dict[str, str]) -> dict[str, str]:
    return server_environment(
        binary, home, url="http://[::1]:8080", environ=environ, settings={}, mark="m"
    )


def test_what_a_server_inherits(runtime_binary: Binary, home: Home, tmp_path: Path) -> None:
    caller = {
        "HOME": str(tmp_path),
        "HTTPS_PROXY": "http://proxy:3128",
        "OMP_NUM_THREADS": "1",
        "RAY_ADDRESS": "auto",
        "LD_LIBRARY_PATH": "/elsewhere",
        "OLLAMA_NOPRUNE": "0",
    }

    env = _environment(runtime_binary, home, caller)

    assert env["HTTPS_PROXY"] == "http://proxy:3128"
    assert not {"OMP_NUM_THREADS", "RAY_ADDRESS"} & env.keys()
    assert env["OLLAMA_HOST"] == "[::1]:8080"
    assert env["OLLAMA_NOPRUNE"] == "1"
    assert env["OLLAMA_NUM_GPU"] == "0"
    assert env["LD_LIBRARY_PATH"] == str(runtime_binary.library_path)


def test_a_release_keeps_its_gpu(home: Home, tmp_path: Path) -> None:
    release = Binary(path=tmp_path / "ollama", kind="release")

    env = _environment(release, home, {"HOME": str(tmp_path), "LD_LIBRARY_PATH": "/cuda"})

    assert "OLLAMA_NUM_GPU" not in env
    assert env["LD_LIBRARY_PATH"] == "/cuda"


def test_it_starts_without_a_home(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.environ["HOME"] = "/proc/nowhere"
    monkeypatch.setattr("orchestrator.runtime.environment._account_home", lambda: "")

    running = box.start()

    assert psutil.Process(running.pid).environ()["HOME"].startswith(str(box.home.data))


@pytest.mark.parametrize("host", ["0.0.0.0:1", "[::]:1", "10.0.0.1", "box:1", "https://127.0.0.1"])
def test_only_loopback_is_served(runtime_binary: Binary, home: Home, host: str) -> None:
    with pytest.raises(InvalidInput):
        lifecycle.start(runtime_binary, home, host=host, environ={}, report=_nothing)


def test_a_port_that_another_program_holds(box: Box) -> None:
    class Silent(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        box.url = f"http://127.0.0.1:{other.server_port}"
        try:
            with pytest.raises(ServerUnreachable, match="no Ollama server") as e:
                box.start()
            with pytest.raises(InvalidInput, match="did not start"):
                box.stop()
        finally:
            other.shutdown()

    assert e.value.details["pid"] == os.getpid()
    assert not box.pid_file.exists()


def test_a_server_that_dies_while_starting_is_quoted(box: Box) -> None:
    begun = time.monotonic()

    with pytest.raises(ServerUnreachable, match=r"ended while starting \(exit code 1\): .*proc"):
        box.start(OLLAMA_MODELS="/proc/nowhere/models")

    assert time.monotonic() - begun < 10
    assert not box.pid_file.exists()


def test_a_program_that_cannot_run(box: Box, tmp_path: Path) -> None:
    box.binary = Binary(path=tmp_path / "absent", kind="release")

    with pytest.raises(ServerUnreachable, match="cannot start"):
        box.start()

    assert not box.pid_file.exists()


def test_a_killed_server_leaves_a_pid_file_that_start_survives(box: Box) -> None:
    first = box.start()
    _kill(first.pid)

    assert box.pid_file.exists()
    assert box.status().owner == "none"
    assert box.start().pid != first.pid
    assert version_at(box.url) == "0.9.3"


def test_a_killed_server_leaves_a_pid_file_that_stop_survives(box: Box) -> None:
    _kill(box.start().pid)

    assert box.stop().servers == ()
    assert not box.pid_file.exists()


def test_a_process_that_got_the_pid_of_a_dead_server_is_left_alone(box: Box) -> None:
    running = box.start()
    _kill(running.pid)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        found = json.loads(box.pid_file.read_text())
        found |= {"pid": stranger.pid, "pgid": stranger.pid}
        box.pid_file.write_text(json.dumps(found))

        assert record.ours(box.home, box.url) is None
        assert lifecycle.stop(box.home, report=_nothing).servers == ()
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_torn_pid_file_is_survived(box: Box, text: str) -> None:
    box.home.state.mkdir(parents=True)
    box.pid_file.write_text(text)

    assert box.status().owner == "none"
    assert lifecycle.stop(box.home, report=_nothing).servers == ()
    assert not box.pid_file.exists()


def test_a_server_whose_starter_was_killed_at_once_is_still_ours(box: Box) -> None:
    running = box.start()
    # What lies there when the starter dies between the fork and the note of the pid.
    before = running.to_json() | {"pid": 0, "pgid": 0, "create_time": 0}
    box.pid_file.write_text(json.dumps(before))

    assert box.start().pid == running.pid
    assert [s.pid for s in box.stop().servers] == [running.pid]
    assert _gone(running.pid)


def test_a_server_outlives_its_starter(box: Box) -> None:
    code = f"""
import os
from pathlib import Path
from orchestrator.home import Home
from orchestrator.runtime import start
from orchestrator.runtime.binary import Binary
binary = Binary(path=Path({str(box.binary.path)!r}), kind="embedded",
                library_path=Path({str(box.binary.library_path)!r}))
start(binary, Home.of(os.environ), host={box.url!r}, environ=os.environ, report=print)
os.kill(os.getpid(), 9)
"""
    ours = {"DEPLOY_HOME": str(box.home.data.parent), "PYTHONPATH": str(_ROOT)}
    starter = subprocess.run([sys.executable, "-c", code], env=box.environ | ours, check=False)

    assert starter.returncode == -signal.SIGKILL
    assert version_at(box.url) == "0.9.3"
    assert box.status().owner == "ours"
    (server,) = box.stop().servers
    assert _gone(server.pid)


def test_two_starts_at_once_make_one_server(box: Box) -> None:
    found: list[Running] = []
    threads = [threading.Thread(target=lambda: found.append(box.start())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len({running.pid for running in found}) == 1


def test_a_lock_that_is_held_is_told_about(tmp_path: Path) -> None:
    said: list[str] = []
    held = disk.locked(tmp_path / "a.lock", what="the first", limit_s=1, report=said.append)
    again = disk.locked(tmp_path / "a.lock", what="the other run", limit_s=5, report=said.append)

    with held, pytest.raises(Busy, match="the other run still runs"), again:
        pass

    assert said == ["waiting for the other run"]


def test_a_large_log_is_rotated_once(box: Box) -> None:
    box.home.state.mkdir(parents=True)
    log = box.pid_file.with_suffix(".log")
    with log.open("wb") as file:
        file.truncate(21 * 1024**2)

    box.start()

    assert log.with_suffix(".log.1").stat().st_size == 21 * 1024**2
    assert log.stat().st_size < 1024**2


def test_a_foreign_server_is_never_stopped(box: Box, server: RealServer) -> None:
    box.url = server.url

    with pytest.raises(InvalidInput, match=f"pid {server.pid}") as e:
        box.stop()
    assert f"kill {server.pid}" in e.value.hint
    with pytest.raises(InvalidInput, match=r"an Ollama 0\.9\.3 that deploy did not start"):
        box.start()
    assert lifecycle.stop(box.home, report=_nothing).servers == ()

    status = box.status()
    assert (status.owner, status.pid, status.version) == ("foreign", server.pid, "0.9.3")
    assert status.models_path == str(server.models)
    assert status.settings["OLLAMA_NUM_PARALLEL"] == "1"
    assert version_at(server.url) == "0.9.3"


def test_a_server_of_systemd_is_named_as_such(
    box: Box, server: RealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f"""#!/bin/sh
cat <<'END'
LoadState=loaded
ActiveState=active
User=root
Environment=OLLAMA_MODELS=/srv/models
MainPID={server.pid}
END"""
    )
    systemctl.chmod(0o755)
    monkeypatch.setattr("orchestrator.runtime.unit.BOOTED", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    box.url = server.url

    with pytest.raises(InvalidInput, match="systemd") as e:
        box.stop()

    assert "systemctl stop ollama" in e.value.hint
    assert (box.status().owner, box.status().models_path) == ("systemd", "/srv/models")


def _load(box: Box, models: dict[str, TinyModel]) -> None:
    model = next(iter(models.values()))
    client = ollama.Client(box.url, trust_env=False, timeout=100)
    with contextlib.closing(client):
        client.create_blob(model.path)
        client.create("tiny", files={"model.gguf": model.digest})
        client.generate("tiny", "a", options={"num_ctx": 256, "num_predict": 1}, keep_alive=-1)


def test_runners_end_with_their_server(box: Box, tiny_models: dict[str, TinyModel]) -> None:
    running = box.start()
    _load(box, tiny_models)

    (runner,) = runners_of(running.pid)
    assert runner.model_path
    assert runner.model_path.startswith(box.environ["OLLAMA_MODELS"])
    assert box.status().orphans == ()

    box.stop()

    assert _gone(runner.pid)


def test_an_orphan_runner_is_seen_and_ended_by_stop(
    box: Box, tiny_models: dict[str, TinyModel]
) -> None:
    running = box.start()
    _load(box, tiny_models)
    (runner,) = runners_of(running.pid)
    _kill(running.pid)

    assert not _gone(runner.pid)
    assert box.status().orphans == (runner.pid,)
    assert box.stop().orphans == (runner.pid,)
    assert _gone(runner.pid)


def test_an_orphan_runner_is_ended_by_the_next_start(
    box: Box, tiny_models: dict[str, TinyModel]
) -> None:
    running = box.start()
    _load(box, tiny_models)
    (runner,) = runners_of(running.pid)
    _kill(running.pid)

    box.start()

    assert _gone(runner.pid)


def test_a_foreign_runner_is_never_ended(
    box: Box, server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    foreign = Box(box.binary, box.home, server.url, box.environ)
    _load(foreign, tiny_models)
    (runner,) = runners_of(server.pid)
    server.kill(runners=False)

    assert box.status().orphans == ()
    assert lifecycle.stop(box.home, report=_nothing).orphans == ()
    assert not _gone(runner.pid)
    server.stop()
    _wait_until_gone(runner.pid)
