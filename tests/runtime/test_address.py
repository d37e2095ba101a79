import socket

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.runtime.address import (
    is_loopback,
    names_everywhere,
    parse_host,
    server_host,
    version_at,
)


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
        pytest.param("localhost", "http://127.0.0.1:11434", id="localhost-has-one-name"),
    ],
)
def test_ollama_host_means(value: str, url: str) -> None:
    assert server_host({"OLLAMA_HOST": value}) == url
    assert server_host({"OLLAMA_HOST": url}) == url


def test_without_ollama_host_it_is_the_default() -> None:
    assert server_host({}) == "http://127.0.0.1:11434"


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
        server_host({"OLLAMA_HOST": value})
    assert repr(value) in e.value.what


def test_a_password_in_ollama_host_is_not_repeated() -> None:
    with pytest.raises(InvalidInput) as e:
        server_host({"OLLAMA_HOST": "http://user:secret@box:80"})
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
    assert is_loopback(parse_host(value)) == loopback
    assert names_everywhere(value) == everywhere


def test_a_port_that_answers_nothing_is_no_ollama() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()

        assert version_at(f"http://127.0.0.1:{mute.getsockname()[1]}", limit_s=0.3) is None
