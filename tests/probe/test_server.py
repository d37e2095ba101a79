import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import Accelerator, LoadedModel, ServerSettings
from orchestrator.probe import ServerClaims, read_machine
from orchestrator.probe.server import ServerProcess, is_local, read_process
from orchestrator.probe.settings import settings_of

MIB = 2**20
# 127.0.0.1:11434 as an x86 kernel prints it.
LOOPBACK = "0100007F:2CAA"
URL = "http://127.0.0.1:11434"
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


@pytest.mark.parametrize(
    ("environ", "settings"),
    [
        pytest.param({}, {}, id="nothing-set"),
        pytest.param({"OLLAMA_NUM_PARALLEL": "4"}, {"num_parallel": 4}, id="slots"),
        pytest.param({"OLLAMA_NUM_PARALLEL": "0"}, {}, id="zero-slots-is-auto"),
        pytest.param({"OLLAMA_NUM_PARALLEL": "many"}, {}, id="no-number"),
        pytest.param({"OLLAMA_NUM_PARALLEL": ' "2" '}, {"num_parallel": 2}, id="quoted"),
        pytest.param({"OLLAMA_CONTEXT_LENGTH": "8192"}, {"context_length": 8192}, id="context"),
        pytest.param({"OLLAMA_FLASH_ATTENTION": "1"}, {"flash_attention": True}, id="on"),
        pytest.param({"OLLAMA_FLASH_ATTENTION": "false"}, {"flash_attention": False}, id="off"),
        pytest.param({"OLLAMA_FLASH_ATTENTION": "yes"}, {"flash_attention": True}, id="any-text"),
        pytest.param({"OLLAMA_FLASH_ATTENTION": ""}, {}, id="empty-is-unset"),
        pytest.param({"OLLAMA_KV_CACHE_TYPE": "Q8_0"}, {"kv_cache_type": "q8_0"}, id="kv-type"),
        pytest.param({"OLLAMA_GPU_OVERHEAD": "1048576"}, {"gpu_overhead_bytes": MIB}, id="bytes"),
        pytest.param({"OLLAMA_SCHED_SPREAD": "t"}, {"sched_spread": True}, id="spread"),
        pytest.param({"OLLAMA_MAX_LOADED_MODELS": "3"}, {"max_loaded_models": 3}, id="loaded"),
        pytest.param({"OLLAMA_KEEP_ALIVE": "-1"}, {"keep_alive": "-1"}, id="keep-alive"),
        pytest.param({"OLLAMA_MODELS": "/srv/m"}, {"models_path": "/srv/m"}, id="models"),
        pytest.param({"CUDA_VISIBLE_DEVICES": ""}, {"visible_devices": ""}, id="hides-all"),
        pytest.param({"LLAMA_ARG_FIT_TARGET": "256"}, {"fit_target_bytes": 256 * MIB}, id="mib"),
        pytest.param(
            {"LLAMA_ARG_FIT_TARGET": "256,512"}, {"fit_target_bytes": 512 * MIB}, id="mib-a-device"
        ),
    ],
)
def test_settings_are_read_as_ollama_reads_them(
    environ: dict[str, str], settings: dict[str, Any]
) -> None:
    assert settings_of(environ) == ServerSettings(**settings)


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
    assert process.settings == ServerSettings(num_parallel=3, models_path=str(tmp_path))
    (runner,) = process.runners
    assert (runner.pid, runner.blob) == (runner_pid, "sha256:abc")
    assert runner.rss_bytes
    assert runner.peak_rss_bytes
    assert runner.peak_rss_bytes >= runner.rss_bytes > MIB
    assert is_local(f"http://localhost:{port}", process, answers=True)


def test_a_usable_gpu_leaves_the_servers_claim_alone(serving: tuple[int, int, int]) -> None:
    """What a runner holds on a GPU is no part of its resident memory."""
    port, _, _ = serving
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


class Proc:
    """A captured /proc: one listening socket, and the processes that a test adds."""

    def __init__(self, root: Path) -> None:
        self.path = root / "proc"
        self.file("net/tcp6", "  sl  local_address\n")
        self.listen(LOOPBACK)

    def file(self, name: str, text: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def listen(self, address: str, *, uid: int = 0, table: str = "tcp", state: str = "0A") -> None:
        row = (
            f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 0 {uid} 0 777 1\n"
        )
        row = row.replace("00:00000000 0 ", "00:00000000 00000000 ")
        self.file(f"net/{table}", f"  sl  local_address\n{row}")

    def process(
        self,
        pid: int,
        name: str,
        *arguments: str,
        socket_of: str = "",
        uid: int = 0,
        hidden: bool = False,
    ) -> None:
        self.file(f"{pid}/comm", f"{name}\n")
        self.file(f"{pid}/cmdline", "\0".join([name, *arguments]) + "\0")
        self.file(f"{pid}/status", f"Name:\t{name}\nPPid:\t1\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        if not hidden:
            (self.path / str(pid) / "fd").mkdir()
        if socket_of:
            (self.path / str(pid) / "fd" / "3").symlink_to(f"socket:[{socket_of}]")

    def read(self, url: str = URL) -> ServerProcess | None:
        return read_process(url, proc=self.path)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


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
    assert (proc.read() is not None) is found


def test_a_connection_is_no_listener(proc: Proc) -> None:
    proc.listen(LOOPBACK, state="01")
    proc.process(50, "ollama", "serve", socket_of="777")
    assert proc.read() is None


@pytest.mark.parametrize("name", ["docker-proxy", "rootlessport", "ssh"])
def test_a_forwarded_port_is_elsewhere(proc: Proc, name: str) -> None:
    proc.process(50, name, socket_of="777")
    process = proc.read()
    assert process is None
    assert not is_local(URL, process, answers=True, proc=proc.path)


def test_the_server_of_another_user_is_found_by_its_name_and_the_sockets_owner(proc: Proc) -> None:
    proc.listen(LOOPBACK, uid=998)
    proc.process(40, "ollama", "run", "qwen3", uid=998, hidden=True)
    proc.process(41, "ollama", "serve", uid=1000, hidden=True)
    proc.process(42, "ollama", "serve", uid=998, hidden=True)
    process = proc.read()
    assert process
    assert (process.pid, process.settings_known) == (42, False)


def test_a_server_that_we_can_read_does_not_own_a_hidden_socket(proc: Proc) -> None:
    proc.process(40, "ollama", "serve", uid=0, socket_of="4711")
    assert proc.read() is None


def test_of_two_hidden_servers_of_a_user_either_may_own_the_socket(proc: Proc) -> None:
    proc.listen(LOOPBACK, uid=998)
    proc.process(40, "ollama", "serve", uid=998, hidden=True)
    proc.process(41, "ollama", "serve", uid=998, hidden=True)
    assert proc.read() is None


def test_a_hidden_owner_may_be_a_container_so_it_is_not_local(proc: Proc) -> None:
    proc.process(50, "bash")
    process = proc.read()
    assert process is None
    assert not is_local(URL, process, answers=True, proc=proc.path)
    assert is_local(URL, process, answers=False, proc=proc.path)


def test_a_server_on_another_host_is_not_local() -> None:
    assert not is_local("http://192.0.2.7:11434", None, answers=False)


def test_our_runtime_is_known_by_its_executable(proc: Proc) -> None:
    proc.process(50, "ollama", "serve", socket_of="777")
    (proc.path / "50" / "exe").symlink_to("/home/x/runtimes/1/ollama-lib (deleted)")
    process = proc.read()
    assert process
    assert process.kind == "embedded"


def test_a_process_with_namespaces_of_its_own_is_in_a_container(proc: Proc) -> None:
    proc.file(f"{os.getpid()}/status", f"NSpid:\t{os.getpid()}\n")
    proc.process(50, "ollama", "serve", socket_of="777")
    proc.file("50/status", "PPid:\t1\nUid:\t0\t0\t0\t0\nNSpid:\t50\t1\n")
    process = proc.read()
    assert process
    assert process.same_namespaces is False


def test_the_models_of_other_parents_are_not_the_servers(proc: Proc) -> None:
    proc.process(50, "ollama", "serve", socket_of="777")
    proc.process(51, "llama-server", "--model=/m/blobs/sha256-f00")
    proc.process(52, "llama-server", "--model=/m/blobs/sha256-ba7")
    proc.file("52/status", "PPid:\t50\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
    process = proc.read()
    assert process
    (runner,) = process.runners
    assert (runner.blob, runner.rss_bytes, runner.peak_rss_bytes) == ("sha256:ba7", MIB, 2 * MIB)


def test_the_runner_of_a_release_is_known_by_its_short_flag(proc: Proc) -> None:
    proc.process(50, "ollama", "serve", socket_of="777")
    proc.process(51, "sh", "-m", "no-model")
    proc.file("51/status", "PPid:\t50\n")
    proc.process(52, "llama-server", "--port", "1", "-m", "/m/blobs/sha256-ba7")
    proc.file("52/status", "PPid:\t51\n")
    process = proc.read()
    assert process
    assert [(r.pid, r.blob) for r in process.runners] == [(52, "sha256:ba7")]
