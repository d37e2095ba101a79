import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.machine import Accelerator, LoadedModel, ServerSettings
from orchestrator.probe import ServerClaims, read_machine
from orchestrator.probe.server import ServerProcess, is_local, read_process, whereabouts
from tests.probe.proc import LOOPBACK, Proc

MIB = 2**20
URL = "http://127.0.0.1:11434"
DOCKER = (
    "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "11434",
    "-container-ip", "172.17.0.2", "-container-port", "11434",
)  # fmt: skip
SERVER = """
import os, signal, socket, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # the runner ends with its server
s = socket.create_server(("127.0.0.1", 0))
sleep = "import time; time.sleep(60)"
runner = subprocess.Popen([sys.executable, "-c", sleep, "--model", sys.argv[1]])
print(s.getsockname()[1], runner.pid, flush=True)
try:
    time.sleep(60)
finally:
    runner.kill()
"""


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[tuple[int, int, int]]:
    """A real process that listens, with the settings of a server and a runner: port and pids."""
    environ = {
        **os.environ,
        "HOME": "/srv/ollama",
        "OLLAMA_NUM_PARALLEL": "3",
        "OLLAMA_MODELS": str(tmp_path),
    }
    model = str(tmp_path / "blobs" / "sha256-abc")
    command = [sys.executable, "-c", SERVER, model]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port, runner = map(int, server.stdout.readline().split())
        yield port, server.pid, runner
        server.terminate()


def test_a_process_that_listens_is_found_with_its_settings_and_runners(
    serving: tuple[int, int, int], tmp_path: Path
) -> None:
    port, pid, runner_pid = serving
    process = read_process(f"http://localhost:{port}")
    assert process
    assert (process.pid, process.kind, process.home) == (pid, "release", "/srv/ollama")
    assert process.same_namespaces is True
    assert process.settings == ServerSettings(
        num_parallel=3, models_path=str(tmp_path), listens_everywhere=False
    )
    assert (process.uid, process.where) == (os.geteuid(), "process")
    assert process.groups == frozenset({os.getegid(), *os.getgroups()})
    (runner,) = process.runners
    assert (runner.pid, runner.blob) == (runner_pid, "sha256:abc")
    assert runner.rss_bytes
    assert runner.peak_rss_bytes
    assert runner.peak_rss_bytes >= runner.rss_bytes > MIB
    assert is_local(f"http://localhost:{port}", process, answers=True)


def test_a_usable_gpu_leaves_the_servers_claim_alone(serving: tuple[int, int, int]) -> None:
    """What a runner holds on a GPU is no part of its resident memory."""
    port, _, runner = serving
    card = Accelerator(
        vendor="nvidia", name="x", index=0, memory_total_bytes=8, memory_free_bytes=8
    )
    claimed = LoadedModel(name="x", digest="y", bytes=7)
    claims = ServerClaims(version="0.33.0", loaded=(claimed,))

    def held(*cards: Accelerator) -> int:
        machine = read_machine(
            host_url=f"http://127.0.0.1:{port}",
            server=claims,
            now=datetime.now(UTC),
            probes=(Fixed(cards),),
        )
        assert machine.server.runners == (runner,)
        return machine.server.loaded[0].bytes

    assert held(card) == 7
    assert held() > MIB
    assert held(replace(card, vendor="ascend")) > MIB


@dataclass(frozen=True)
class Fixed:
    """A probe that has read already."""

    reading: tuple[Accelerator, ...]
    name: str = "nvidia"

    def read(self) -> tuple[Accelerator, ...]:
        return self.reading


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def read(proc: Proc) -> ServerProcess | None:
    return read_process(URL, proc=proc.path)


@pytest.mark.parametrize(
    ("address", "table", "found"),
    [
        pytest.param(LOOPBACK, "tcp", True, id="loopback"),
        pytest.param("00000000:2CAA", "tcp", True, id="any-address"),
        pytest.param("00000000000000000000000000000000:2CAA", "tcp6", True, id="any-address-of-6"),
        pytest.param("0000000000000000FFFF00000100007F:2CAA", "tcp6", True, id="mapped"),
        pytest.param("0700A8C0:2CAA", "tcp", False, id="another-interface"),
        pytest.param("0100007F:2CAB", "tcp", False, id="another-port"),
    ],
)
def test_who_listens_where(proc: Proc, address: str, table: str, found: bool) -> None:
    proc.listen("0100007F:0001")
    proc.listen(address, table=table)
    proc.process(50, "ollama", "serve", socket_of="777")
    assert (read(proc) is not None) is found


def test_a_connection_is_no_listener(proc: Proc) -> None:
    proc.listen(LOOPBACK, state="01")
    proc.process(50, "ollama", "serve", socket_of="777")
    assert read(proc) is None


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("docker-proxy", "container"),
        ("rootlessport", "container"),
        ("ssh", "remote"),
        ("sshd-session", "remote"),
    ],
)
def test_a_forwarded_port_is_elsewhere(proc: Proc, name: str, where: str) -> None:
    proc.process(50, name, socket_of="777")
    process = read(proc)
    assert process is None
    assert not is_local(URL, process, answers=True, proc=proc.path)
    assert whereabouts(URL, process, proc=proc.path) == where


def test_a_port_that_docker_forwards_is_known_by_its_public_command_line(proc: Proc) -> None:
    """Its sockets are root's, and hidden from most."""
    proc.process(50, "bash")
    proc.sockets({"777": LOOPBACK, "778": "0100007F:1F90"})
    assert whereabouts(URL, None, proc=proc.path) is None
    proc.process(51, "docker-proxy", *DOCKER, hidden=True)
    assert whereabouts(URL, None, proc=proc.path) == "container"
    assert whereabouts("http://127.0.0.1:8080", None, proc=proc.path) is None


def test_a_server_of_another_address_is_remote() -> None:
    assert whereabouts("http://192.0.2.7:11434", None) == "remote"


def test_the_server_of_another_user_is_found_by_its_name_and_the_sockets_owner(proc: Proc) -> None:
    proc.listen(LOOPBACK, uid=998)
    proc.process(40, "ollama", "run", "qwen3", uid=998, hidden=True)
    proc.process(41, "ollama", "serve", uid=1000, hidden=True)
    proc.process(42, "ollama", "serve", uid=998, hidden=True)
    process = read(proc)
    assert process
    assert (process.pid, process.settings_known) == (42, False)


def test_a_server_that_we_can_read_does_not_own_a_hidden_socket(proc: Proc) -> None:
    proc.process(40, "ollama", "serve", uid=0, socket_of="4711")
    assert read(proc) is None


def test_of_two_hidden_servers_of_a_user_either_may_own_the_socket(proc: Proc) -> None:
    proc.listen(LOOPBACK, uid=998)
    proc.process(40, "ollama", "serve", uid=998, hidden=True)
    proc.process(41, "ollama", "serve", uid=998, hidden=True)
    assert read(proc) is None


def test_a_hidden_owner_may_be_a_container_so_it_is_not_local(proc: Proc) -> None:
    proc.process(50, "bash")
    process = read(proc)
    assert process is None
    assert not is_local(URL, process, answers=True, proc=proc.path)
    assert is_local(URL, process, answers=False, proc=proc.path)


def test_a_server_on_another_host_is_not_local() -> None:
    assert not is_local("http://192.0.2.7:11434", None, answers=False)


def test_our_runtime_is_known_by_its_executable(proc: Proc) -> None:
    proc.process(50, "ollama", "serve", socket_of="777")
    (proc.path / "50" / "exe").symlink_to("/home/x/runtimes/1/ollama-lib (deleted)")
    process = read(proc)
    assert process
    assert process.kind == "embedded"


def test_a_process_with_namespaces_of_its_own_is_in_a_container(proc: Proc) -> None:
    proc.file(f"{os.getpid()}/status", f"NSpid:\t{os.getpid()}\n")
    proc.process(50, "ollama", "serve", socket_of="777")
    proc.file("50/status", "PPid:\t1\nUid:\t0\t0\t0\t0\nNSpid:\t50\t1\n")
    process = read(proc)
    assert process
    assert process.same_namespaces is False
    assert process.where == "container"


UNIT = "/system.slice/ollama.service"
SCOPE = "/user.slice/user-1000.slice/session-3.scope"
ID = "3f2a9c0d1e4b5a6978"


@pytest.mark.parametrize(
    ("cgroup", "ours", "parent", "environ", "where"),
    [
        pytest.param(SCOPE, SCOPE, 2, {}, "process", id="from-a-terminal"),
        pytest.param(UNIT, SCOPE, 1, {"SYSTEMD_EXEC_PID": "50"}, "systemd", id="by-systemd"),
        pytest.param(SCOPE, SCOPE, 2, {"SYSTEMD_EXEC_PID": "9"}, "process", id="below-a-unit"),
        pytest.param(UNIT, SCOPE, 1, {}, "systemd", id="by-an-older-systemd"),
        pytest.param(UNIT, SCOPE, 1, None, "systemd", id="hidden"),
        pytest.param(
            "/user.slice/user-1000.slice/user@1000.service/app.slice/llm.service",
            SCOPE,
            1,
            {},
            "systemd",
            id="a-users-own-unit",
        ),
        pytest.param("/system.slice/cron.service", SCOPE, 1, {}, "process", id="left-by-cron"),
        pytest.param(UNIT, SCOPE, 2, {}, "process", id="started-by-a-shell"),
        pytest.param(f"/docker/{ID}", SCOPE, 1, None, "container", id="docker"),
        pytest.param(f"/system.slice/docker-{ID}.scope", SCOPE, 1, {}, "container", id="scope"),
        pytest.param("/kubepods/besteffort/pod1/a", SCOPE, 1, {}, "container", id="kubernetes"),
        pytest.param("/lxc.payload.web/x", SCOPE, 1, {}, "container", id="lxc"),
        pytest.param(f"/docker/{ID}", f"/docker/{ID}", 2, {}, "process", id="in-our-container"),
        pytest.param("/system.slice/docker.service", SCOPE, 2, {}, "process", id="docker-itself"),
    ],
)
def test_how_a_server_runs(
    proc: Proc, cgroup: str, ours: str, parent: int, environ: dict[str, str] | None, where: str
) -> None:
    proc.file("self/cgroup", f"0::{ours}\n")
    proc.process(1, "systemd")
    proc.process(2, "bash")
    proc.listen(LOOPBACK, uid=998)
    proc.process(
        50, "ollama", "serve", uid=998, parent=parent, cgroup=cgroup, environ=environ, hidden=True
    )
    process = read(proc)
    assert process
    assert process.where == where
    assert whereabouts(URL, process, proc=proc.path) == where
    assert is_local(URL, process, answers=True, proc=proc.path) is (where != "container")


def test_the_server_of_a_container_is_not_the_owner_of_the_socket_that_docker_hides(
    proc: Proc,
) -> None:
    """To an ordinary user both are root's, and their open files are hidden."""
    proc.process(50, "ollama", "serve", hidden=True)
    proc.in_container(50, address="172.17.0.2")
    proc.process(51, "docker-proxy", *DOCKER, hidden=True)
    process = read(proc)
    assert process is None
    assert not is_local(URL, process, answers=True, proc=proc.path)
    assert whereabouts(URL, process, proc=proc.path) == "container"


def test_a_container_on_the_network_of_the_box_is_not_local(proc: Proc) -> None:
    proc.process(50, "ollama", "serve", socket_of="777")
    proc.in_container(50, address="192.0.2.7")
    process = read(proc)
    assert process
    assert process.where == "container"
    assert not is_local(URL, process, answers=True, proc=proc.path)


def test_a_server_in_our_own_container_is_local(proc: Proc) -> None:
    proc.file("self/cgroup", "0::/\n")
    proc.file(f"{os.getpid()}/status", f"NSpid:\t{os.getpid()}\n")
    proc.process(50, "ollama", "serve", socket_of="777", cgroup="/", status="NSpid:\t50\n")
    process = read(proc)
    assert process
    assert (process.where, process.same_namespaces) == ("process", None)
    assert is_local(URL, process, answers=True, proc=proc.path)


SYSTEMCTL = """#!/bin/sh
cat <<'END'
LoadState=loaded
ActiveState=active
MainPID=50
User=ollama
Environment=PATH=/usr/bin OLLAMA_NUM_PARALLEL=2
EnvironmentFiles=/etc/ollama.env (ignore_errors=no)
END
"""


@pytest.fixture
def unit(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A unit whose main process is 50: the box of `proc`, with the file that it names."""
    root = proc.path.parent
    for folder in ("run/systemd/system", "etc", "bin"):
        (root / folder).mkdir(parents=True)
    program = root / "bin" / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return root / "etc" / "ollama.env"


def test_a_hidden_environment_is_known_by_all_files_of_its_unit_or_not_at_all(
    proc: Proc, unit: Path
) -> None:
    proc.listen(LOOPBACK, uid=998)
    proc.process(50, "ollama", "serve", uid=998, hidden=True)
    half = read(proc)
    assert half
    assert (half.settings_known, half.environ_known, half.where) == (False, False, "systemd")
    assert half.settings.num_parallel == 2
    unit.write_text("OLLAMA_MODELS=/data/models\n")
    process = read(proc)
    assert process
    assert (process.settings_known, process.environ_known) == (True, False)
    assert process.settings.models_path == "/data/models"
    assert is_local(URL, process, answers=True, proc=proc.path)
    proc.file("50/environ", "OLLAMA_NUM_PARALLEL=4\0")
    process = read(proc)
    assert process
    assert (process.settings.num_parallel, process.environ_known) == (4, True)


def test_a_unit_owns_a_hidden_socket_only_as_its_user(proc: Proc, unit: Path) -> None:
    unit.write_text("")
    proc.process(50, "wrapper", uid=998, hidden=True)
    proc.listen(LOOPBACK, uid=0)  # Docker's, at the port that the unit names
    assert read(proc) is None
    proc.listen(LOOPBACK, uid=998)
    process = read(proc)
    assert process
    assert process.pid == 50


def test_the_rights_of_a_server_are_its_effective_ones(proc: Proc) -> None:
    ids = "Gid:\t7\t990\t990\t990\nGroups:\t44 109 \n"
    proc.process(50, "ollama", "serve", socket_of="777", status=ids)
    proc.file("50/status", f"PPid:\t1\nUid:\t0\t998\t998\t998\n{ids}")
    process = read(proc)
    assert process
    assert (process.uid, process.groups) == (998, frozenset({990, 44, 109}))


def test_hidden_rights_are_unknown_and_not_none(proc: Proc) -> None:
    proc.process(50, "ollama", "serve", socket_of="777")
    (proc.path / "50" / "status").unlink()
    process = read(proc)
    assert process
    assert (process.uid, process.groups) == (None, None)


@pytest.mark.parametrize(
    ("address", "variable", "everywhere"),
    [
        pytest.param(LOOPBACK, "0.0.0.0", False, id="the-socket-knows-better"),
        pytest.param("00000000:2CAA", "", True, id="whatever-the-variable-says"),
        pytest.param("00000000:2CAA", None, True, id="though-it-is-hidden"),
    ],
)
def test_the_socket_tells_whether_the_network_reaches_it(
    proc: Proc, address: str, variable: str | None, everywhere: bool
) -> None:
    proc.listen(address)
    environ = None if variable is None else {"OLLAMA_HOST": variable}
    proc.process(50, "ollama", "serve", socket_of="777", environ=environ)
    process = read(proc)
    assert process
    assert process.settings.listens_everywhere is everywhere


def test_the_servers_proxy_is_told_without_its_password(proc: Proc) -> None:
    environ = {"https_proxy": "http://ann:secret@proxy:3128"}
    proc.process(50, "ollama", "serve", socket_of="777", environ=environ)
    process = read(proc)
    assert process
    assert process.settings.proxy == "http://proxy:3128"


def test_random_bytes_never_make_it_raise(proc: Proc) -> None:
    chance = random.Random(6)
    proc.process(1, "systemd")
    proc.process(50, "ollama", "serve", socket_of="777", environ={})
    proc.process(51, "llama-server", "--model", "/m/blobs/sha256-1", parent=50)
    proc.process(52, "docker-proxy", *DOCKER)
    files = [path for path in proc.path.rglob("*") if path.is_file()]
    for path in files * 20:
        whole = path.read_bytes()
        at = chance.randrange(len(whole) + 1)
        noise = chance.choice([chance.randbytes(30), b"9" * 5000, "²".encode(), b"\n", b":", b"\0"])
        path.write_bytes(whole[:at] + noise + whole[at + chance.randrange(20) :])
        process = read(proc)
        whereabouts(URL, process, proc=proc.path)
        whereabouts(URL, None, proc=proc.path)
        path.write_bytes(whole)


def test_the_models_of_other_parents_are_not_the_servers(proc: Proc) -> None:
    proc.process(50, "ollama", "serve", socket_of="777")
    proc.process(51, "llama-server", "--model=/m/blobs/sha256-f00")
    proc.process(52, "llama-server", "--model=/m/blobs/sha256-ba7")
    proc.file("52/status", "PPid:\t50\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
    process = read(proc)
    assert process
    (runner,) = process.runners
    assert (runner.blob, runner.rss_bytes, runner.peak_rss_bytes) == ("sha256:ba7", MIB, 2 * MIB)


def test_a_runners_command_line_may_be_anybodys(proc: Proc) -> None:
    proc.process(50, "ollama", "serve", socket_of="777")
    nonsense = ("-m", "/m/blobs/sha256-ba7", "-c", "9" * 5000, "-np", "many")
    proc.process(51, "llama-server", *nonsense, parent=50)
    process = read(proc)
    assert process
    (runner,) = process.runners
    assert (runner.context_total, runner.parallel) == (None, None)


def test_the_runner_of_a_release_is_known_by_its_short_flag(proc: Proc) -> None:
    proc.process(50, "ollama", "serve", socket_of="777")
    proc.process(51, "sh", "-m", "no-model")
    proc.file("51/status", "PPid:\t50\n")
    proc.process(52, "llama-server", "--port", "1", "-m", "/m/blobs/sha256-ba7")
    proc.file("52/status", "PPid:\t51\n")
    process = read(proc)
    assert process
    assert [(r.pid, r.blob) for r in process.runners] == [(52, "sha256:ba7")]
