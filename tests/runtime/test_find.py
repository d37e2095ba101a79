import os
import socket
import time
from pathlib import Path

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.home import Home
from orchestrator.runtime import find
from orchestrator.runtime.address import is_loopback, names_everywhere, version_at
from orchestrator.runtime.binary import Binary
from tests.real.server import RealServer, free_port


@pytest.mark.parametrize(
    ("value", "url"),
    [
        pytest.param("", "http://127.0.0.1:11434", id="empty"),
        pytest.param("  ", "http://127.0.0.1:11434", id="blank"),
        pytest.param("example.com", "http://example.com:11434", id="bare-host"),
        pytest.param("gpu_box-1.lan", "http://gpu_box-1.lan:11434", id="host-with-marks"),
        pytest.param("10.0.0.7", "http://10.0.0.7:11434", id="bare-address"),
        pytest.param("10.0.0.7:80", "http://10.0.0.7:80", id="host-and-port"),
        pytest.param(":8080", "http://127.0.0.1:8080", id="port-only"),
        pytest.param("http://box", "http://box:80", id="http-without-port"),
        pytest.param("https://box", "https://box:443", id="https-without-port"),
        pytest.param("https://box:8443", "https://box:8443", id="https-with-port"),
        pytest.param("http://box:1234/", "http://box:1234", id="trailing-slash"),
        pytest.param("https://box/ollama/", "https://box:443/ollama", id="path-of-a-proxy"),
        pytest.param("ollama.com", "https://ollama.com:443", id="ollamas-own"),
        pytest.param("::1", "http://[::1]:11434", id="bare-v6"),
        pytest.param("[::1]", "http://[::1]:11434", id="v6-in-brackets"),
        pytest.param("[::1]:8080", "http://[::1]:8080", id="v6-and-port"),
        pytest.param("http://[fd00::2]", "http://[fd00::2]:80", id="v6-with-scheme"),
        pytest.param("0.0.0.0", "http://127.0.0.1:11434", id="everywhere-is-loopback"),
        pytest.param("0.0.0.0:9000", "http://127.0.0.1:9000", id="everywhere-keeps-port"),
        pytest.param("[::]", "http://[::1]:11434", id="everywhere-v6"),
        pytest.param("[::]:9000", "http://[::1]:9000", id="everywhere-v6-keeps-port"),
        pytest.param("::", "http://[::1]:11434", id="everywhere-v6-bare"),
        pytest.param(' "127.0.0.1:9" ', "http://127.0.0.1:9", id="quotes-and-space"),
        pytest.param("localhost", "http://localhost:11434", id="localhost"),
    ],
)
def test_ollama_host_means(value: str, url: str) -> None:
    assert find.server_host({"OLLAMA_HOST": value}) == url
    assert find.server_host({"OLLAMA_HOST": url}) == url


def test_without_ollama_host_it_is_the_default() -> None:
    assert find.server_host({}) == "http://127.0.0.1:11434"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("box:99999", id="port-too-high"),
        pytest.param("box:0", id="port-zero"),
        pytest.param("box:-1", id="port-negative"),
        pytest.param("box:http", id="port-no-number"),
        pytest.param("box:", id="port-missing"),
        pytest.param("box:١٢", id="port-in-other-digits"),
        pytest.param("ftp://box", id="scheme"),
        pytest.param("my box", id="space"),
        pytest.param("127.0.0.300", id="mistyped-address"),
        pytest.param("[::1", id="bracket"),
        pytest.param("[::1]x", id="after-bracket"),
        pytest.param("[fe80::1%eth0]", id="zone"),
        pytest.param("http://box/a b", id="path"),
        pytest.param("box\r\nX-Injected: 1", id="line-break"),
    ],
)
def test_a_bad_ollama_host_is_named(value: str) -> None:
    with pytest.raises(InvalidInput, match="OLLAMA_HOST") as e:
        find.server_host({"OLLAMA_HOST": value})
    assert repr(value) in e.value.what


def test_a_password_in_ollama_host_is_not_repeated() -> None:
    with pytest.raises(InvalidInput) as e:
        find.server_host({"OLLAMA_HOST": "http://user:secret@box:80"})
    assert "secret" not in e.value.what


@pytest.mark.parametrize(
    ("value", "loopback", "everywhere"),
    [
        ("127.0.0.1:1", True, False),
        ("127.9.9.9", True, False),
        ("[::1]:1", True, False),
        ("localhost", True, False),
        ("0.0.0.0:80", True, True),
        ("http://[::]:80", True, True),
        ("10.0.0.1", False, False),
        ("box", False, False),
    ],
)
def test_who_can_reach_an_address(value: str, loopback: bool, everywhere: bool) -> None:
    assert is_loopback(find.parse_host(value)) == loopback
    assert names_everywhere(value) == everywhere


@pytest.fixture
def release(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "ollama"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_a_release_is_preferred_over_the_embedded_runtime(
    release: Path, runtime_binary: Binary, tmp_path: Path
) -> None:
    home = Home(runtime_binary.path.parents[2], tmp_path, tmp_path)

    assert find.installed(home, {"PATH": str(release.parent)}) == Binary(
        path=release, kind="release"
    )
    assert find.installed(home, {"PATH": str(tmp_path)}) == runtime_binary


def test_a_program_that_may_not_run_is_not_found(release: Path, home: Home) -> None:
    release.chmod(0o644)

    assert find.installed(home, {"PATH": str(release.parent)}) is None


def _systemctl(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "systemctl"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_systemd_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = """MainPID=812
User=ollama
Environment=PATH=/usr/bin "OLLAMA_MODELS=/big disk/models" OLLAMA_HOST=0.0.0.0
LoadState=loaded
ActiveState=active
DropInPaths=/etc/systemd/system/ollama.service.d/override.conf"""
    _systemctl(tmp_path, f"cat <<'END'\n{said}\nEND", monkeypatch)

    unit = find.systemd_unit()

    assert unit is not None
    assert (unit.name, unit.active, unit.user, unit.main_pid) == (
        "ollama.service",
        True,
        "ollama",
        812,
    )
    assert unit.environment["OLLAMA_MODELS"] == "/big disk/models"
    assert unit.environment["OLLAMA_HOST"] == "0.0.0.0"
    assert unit.drop_ins == ("/etc/systemd/system/ollama.service.d/override.conf",)
    assert "/big disk" not in str(unit.to_json())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("echo LoadState=not-found; echo MainPID=0", id="no-such-unit"),
        pytest.param("echo LoadState=loaded; exit 1", id="fails"),
        pytest.param("echo nonsense", id="nonsense"),
        pytest.param("exec sleep 20", id="hangs"),
    ],
)
def test_systemd_without_ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    _systemctl(tmp_path, body, monkeypatch)
    begun = time.monotonic()

    assert find.systemd_unit() is None
    assert time.monotonic() - begun < 8


def test_who_listens(server: RealServer) -> None:
    assert find.listener_pid(server.url) == server.pid
    assert find.listener_pid(f"http://localhost:{server.port}") == server.pid
    assert find.listener_pid(f"http://127.0.0.1:{free_port()}") is None
    assert find.listener_pid(f"http://192.0.2.1:{server.port}") is None
    assert version_at(server.url) == "0.9.3"


def test_a_socket_on_all_addresses_is_found_on_loopback() -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        port = everywhere.getsockname()[1]

        assert find.listener_pid(f"http://127.0.0.1:{port}") == os.getpid()


def test_a_port_that_answers_nothing_is_no_ollama() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()

        assert version_at(f"http://127.0.0.1:{mute.getsockname()[1]}", limit_s=0.3) is None
