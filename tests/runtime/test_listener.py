import os
import socket
from pathlib import Path

import pytest

from orchestrator.runtime.address import version_at
from orchestrator.runtime.listener import is_here, listener_at, listener_pid
from tests.real.server import RealServer, free_port


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://127.0.0.53", True),
        ("http://localhost:11434", True),
        ("http://[::1]:11434", True),
        ("http://0.0.0.0:11434", True),
        ("127.0.0.1:11434", True),
        ("http://192.0.2.7:11434", False),
        ("http://ollama.example:11434", False),
        ("http://127.0.0.1:99999", False),
    ],
)
def test_which_hosts_are_ours(url: str, here: bool) -> None:
    assert is_here(url) is here


def test_the_name_of_this_machine_is_ours() -> None:
    assert is_here(f"http://{socket.gethostname().lower()}:11434")


def test_who_listens(server: RealServer) -> None:
    assert listener_pid(server.url) == server.pid
    assert listener_pid(f"http://localhost:{server.port}") == server.pid
    assert listener_pid(f"http://127.0.0.1:{free_port()}") is None
    assert listener_pid(f"http://192.0.2.1:{server.port}") is None
    assert version_at(server.url) == "0.9.3"


def test_a_socket_on_all_addresses_is_found_on_loopback() -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        port = everywhere.getsockname()[1]

        assert listener_pid(f"http://127.0.0.1:{port}") == os.getpid()


def test_a_socket_of_version_4_takes_no_connection_of_version_6() -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()

        assert listener_pid(f"http://[::1]:{everywhere.getsockname()[1]}") is None


def test_an_exact_address_wins_over_all_addresses() -> None:
    with socket.socket() as exact, socket.socket() as everywhere:
        for each in (exact, everywhere):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        exact.bind(("127.0.0.1", 0))
        port = exact.getsockname()[1]
        everywhere.bind(("0.0.0.0", port))
        everywhere.listen()
        exact.listen()

        found = listener_at(f"http://127.0.0.1:{port}")

    assert found
    assert (str(found.address), found.pid) == ("127.0.0.1", os.getpid())


def test_without_proc_psutil_is_asked(tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()

        found = listener_at(f"http://127.0.0.1:{one.getsockname()[1]}", tmp_path / "absent")

    assert found
    assert found.pid == os.getpid()
