"""The other servers of a box, as a captured /proc shows them and as real processes are."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.machine import OtherServer
from orchestrator.probe.forwards import Forward, forwards
from orchestrator.probe.servers import orphans, other_servers, serves
from tests.probe.proc import LOOPBACK, Proc

URL = "http://127.0.0.1:11434"
SECOND = "0100007F:2CAB"  # 127.0.0.1:11435
EVERYWHERE = "00000000:2CAA"  # 0.0.0.0:11434
LISTENS = """
import socket, time
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
time.sleep(60)
"""


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    found = Proc(tmp_path)
    found.process(1, "systemd", parent=0)
    found.process(2, "bash")
    return found


def published(proc: Proc, pid: int, host_port: int, container: str, port: int) -> None:
    proc.process(
        pid, "docker-proxy",
        "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", f"{host_port}",
        "-container-ip", container, "-container-port", f"{port}",
        hidden=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "is_server"),
    [
        (("/usr/bin/ollama", "serve"), True),
        (("ollama", "start"), True),
        (("ollama", "--verbose", "serve"), True),
        (("ollama", "run", "serve"), False),
        (("ollama", "runner", "--model", "/m", "serve"), False),
        (("llama-server", "serve"), False),
        (("ollama",), False),
        (("",), False),
    ],
)
def test_which_command_lines_are_servers(arguments: tuple[str, ...], is_server: bool) -> None:
    assert serves(arguments) is is_server


def test_another_server_is_told_with_its_socket_and_its_user(proc: Proc) -> None:
    proc.sockets({"777": LOOPBACK, "778": SECOND})
    proc.process(50, "ollama", "serve", socket_of="777")
    proc.process(51, "ollama", "serve", socket_of="778", uid=4711)
    proc.process(52, "ollama", "runner", "--model", "/m/blobs/sha256-1", parent=50)
    proc.process(53, "ollama", "run", "qwen3")
    proc.process(54, "llama-server", "-m", "/m/blobs/sha256-2")
    assert other_servers(URL, 50, proc.path) == (
        OtherServer(pid=51, host="http://127.0.0.1:11435", user="4711", where="process"),
    )


def test_without_its_socket_the_variable_says_where_it_will_listen(proc: Proc) -> None:
    proc.process(51, "ollama", "serve", environ={"OLLAMA_HOST": "0.0.0.0:11500"})
    proc.process(52, "ollama", "serve", environ={})
    proc.process(53, "ollama", "serve", environ={"OLLAMA_HOST": "no host:99999"})
    found = {each.pid: each.host for each in other_servers(URL, 50, proc.path)}
    assert found == {51: "http://127.0.0.1:11500", 52: URL, 53: None}


def test_the_socket_goes_before_the_variable(proc: Proc) -> None:
    proc.listen(SECOND)
    proc.process(51, "ollama", "serve", socket_of="777", environ={"OLLAMA_HOST": ":1"})
    (found,) = other_servers(URL, 50, proc.path)
    assert found.host == "http://127.0.0.1:11435"


def test_a_hidden_server_is_known_at_ollamas_own_port(proc: Proc) -> None:
    """Ours listens elsewhere; the system's belongs to the user `ollama`, unreadable to us."""
    proc.sockets({"777": LOOPBACK}, uid=987654)
    proc.process(
        51, "ollama", "serve", uid=987654, hidden=True, cgroup="/system.slice/ollama.service"
    )
    (found,) = other_servers("http://127.0.0.1:11435", 50, proc.path)
    assert (found.host, found.user, found.where) == (URL, "987654", "systemd")


def test_where_a_hidden_server_listens_may_stay_unknown(proc: Proc) -> None:
    proc.sockets({"777": SECOND}, uid=987654)
    proc.process(51, "ollama", "serve", uid=987654, hidden=True)
    (found,) = other_servers(URL, 50, proc.path)
    assert found.host is None


def test_a_server_at_the_address_of_ours_is_ours(proc: Proc) -> None:
    proc.process(51, "ollama", "serve", environ={})
    assert other_servers("http://localhost:11434", None, proc.path) == ()
    assert len(other_servers(URL, 50, proc.path)) == 1


def test_a_containers_server_is_told_by_the_port_that_leads_there(proc: Proc) -> None:
    proc.process(51, "ollama", "serve", socket_of="901", hidden=False)
    proc.in_container(51, address="172.17.0.3")
    proc.sockets({"901": SECOND}, of=51)
    published(proc, 60, 11500, "172.17.0.2", 11435)  # of another container
    published(proc, 61, 8080, "172.17.0.3", 11434)  # of another program
    assert other_servers(URL, 50, proc.path) == (
        OtherServer(pid=51, host=None, user="root", where="container"),
    )
    published(proc, 62, 11501, "172.17.0.3", 11435)
    (found,) = other_servers(URL, 50, proc.path)
    assert found.host == "http://127.0.0.1:11501"


def test_the_containers_server_that_answers_is_no_other_one(proc: Proc) -> None:
    proc.process(51, "ollama", "serve", hidden=True)
    proc.in_container(51, address="172.17.0.3")
    published(proc, 60, 11434, "172.17.0.3", 11434)
    assert other_servers(URL, None, proc.path) == ()
    assert len(other_servers("http://127.0.0.1:11435", None, proc.path)) == 1


def test_a_container_on_the_network_of_the_box_is_reached_like_a_process(proc: Proc) -> None:
    proc.listen(SECOND)
    proc.process(51, "ollama", "serve", socket_of="777")
    proc.in_container(51, address="192.0.2.7")
    network = (proc.path / "51" / "net" / "fib_trie").read_text()
    proc.file("net/fib_trie", network)
    (found,) = other_servers(URL, 50, proc.path)
    assert (found.where, found.host) == ("container", "http://127.0.0.1:11435")


def test_a_proxys_command_line_may_be_anything(proc: Proc) -> None:
    proc.process(60, "docker-proxy", "-host-port", "many", "-container-port")
    proc.process(61, "docker-proxy", "-proto", "udp", "-host-port", "1", "-container-port", "1")
    published(proc, 62, 11500, "172.17.0.2", 11434)
    assert forwards(proc.path) == (
        Forward(host="0.0.0.0", port=11500, container="172.17.0.2", container_port=11434),
    )


def test_runners_that_no_server_owns_are_told_for_the_servers_store_only(proc: Proc) -> None:
    proc.file(f"{os.getpid()}/status", f"PPid:\t1\nNSpid:\t{os.getpid()}\n")
    proc.process(50, "ollama", "serve")
    proc.process(51, "ollama", "runner", "--model", "/m/blobs/sha256-1", parent=50)
    proc.process(52, "ollama", "runner", "--model", "/m/blobs/sha256-1")
    proc.process(53, "ollama", "runner", "--model", "/other/blobs/sha256-1")
    assert orphans(Path("/m"), proc.path) == (52,)
    assert orphans(None, proc.path) == ()


def test_ancestors_that_lead_in_a_circle_own_no_runner(proc: Proc) -> None:
    """Numbers are given out again while they are read."""
    proc.process(60, "bash", parent=61)
    proc.process(61, "bash", parent=60)
    proc.process(62, "ollama", "runner", "--model", "/m/blobs/sha256-1", parent=60)
    assert orphans(Path("/m"), proc.path) == (62,)


def test_a_real_server_beside_ours_is_found(tmp_path: Path) -> None:
    (tmp_path / "ollama").symlink_to(sys.executable)
    (tmp_path / "serve").write_text(LISTENS)
    environ = {**os.environ, "OLLAMA_HOST": "127.0.0.1:1"}
    with subprocess.Popen(
        [tmp_path / "ollama", "serve"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            port = int(server.stdout.readline())
            others = {each.pid: each for each in other_servers(URL, None)}
            ours = other_servers(f"http://127.0.0.1:{port}", server.pid)
        finally:
            server.kill()
    assert others[server.pid].host == f"http://127.0.0.1:{port}"
    assert others[server.pid].where == "process"
    assert server.pid not in {each.pid for each in ours}


def test_a_box_with_thousands_of_processes_is_looked_through_at_once(proc: Proc) -> None:
    for pid in range(1000, 4000):
        proc.process(pid, "sleep", "60")
    proc.process(50, "ollama", "serve", environ={})
    started = time.process_time()
    assert len(other_servers(URL, None, proc.path)) == 0
    assert len(other_servers(URL, 51, proc.path)) == 1
    assert orphans(Path("/m"), proc.path) == ()
    assert time.process_time() - started < 1


def test_random_bytes_never_make_it_raise(proc: Proc) -> None:
    chance = random.Random(7)
    proc.process(50, "ollama", "serve", environ={"OLLAMA_HOST": "127.0.0.1:1"})
    proc.process(51, "ollama", "serve", hidden=True)
    proc.in_container(51, address="172.17.0.3")
    proc.sockets({"901": EVERYWHERE}, of=51)
    proc.process(52, "ollama", "runner", "--model", "/m/blobs/sha256-1")
    published(proc, 60, 11434, "172.17.0.3", 11434)
    files = [path for path in proc.path.rglob("*") if path.is_file()]
    for path in files * 20:
        whole = path.read_bytes()
        at = chance.randrange(len(whole) + 1)
        noise = chance.choice([chance.randbytes(30), b"9" * 5000, "\N{SUPERSCRIPT TWO}".encode()])
        path.write_bytes(whole[:at] + noise + whole[at + chance.randrange(20) :])
        other_servers(URL, None, proc.path)
        orphans(Path("/m"), proc.path)
        path.write_bytes(whole)
