"""Who is asked, by which way, with which secrets; and answers that no hub of good will gives."""

import base64
import dataclasses
import gzip
import time
from pathlib import Path
from typing import Any

import filelock
import pytest

from orchestrator.errors import Busy, DiskFull, SourceBusy, SourceCorrupt, SourceUnreachable
from orchestrator.runtime import disk
from orchestrator.transfer import Credentials, Fetched, Patience, Wanted, fetch
from orchestrator.transfer.answer import moved
from tests.loop.heard import Heard
from tests.real.disk import small_disk
from tests.real.hub import Fault, Hub
from tests.transfer.raw import Raw, answer, authority

QUICK = Patience(connect_s=2, read_s=1, tries=3, longest_wait_s=0.2)
BEARER = Credentials(headers={"authorization": "Bearer hf_secretsecret"})
DATA = bytes(range(256)) * 40


def one(wanted: Wanted, heard: Heard | None = None, **more: Any) -> Fetched:
    return fetch([wanted], "it", heard or Heard(), **{"patience": QUICK, **more})[0]


def at(host: str, folder: Path, **more: Any) -> Wanted:
    return Wanted(url=f"http://{host}/it", target=folder / "it", what="it", **more)


def basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def test_another_port_of_the_same_host_gets_no_token(hub: Hub, big: Wanted) -> None:
    with Hub(hub.root) as far:
        hub.elsewhere = far.url
        one(big, credentials=BEARER)
        assert {each.authorization for each in far.asked} == {None}
    assert {each.authorization for each in hub.asked} == {"Bearer hf_secretsecret"}


def test_a_login_in_the_url_goes_to_its_host_alone(hub: Hub, big: Wanted) -> None:
    with Hub(hub.root) as far:
        hub.elsewhere = far.url
        far.faults.append(Fault("big", status=500, times=1))
        hub.faults.append(Fault("big", status=500, times=1))
        url = big.url.replace("://", "://bo%40b:pass%3Aof@")
        heard = Heard()
        one(dataclasses.replace(big, url=url), heard, credentials=BEARER)
        assert {each.authorization for each in far.asked} == {None}
    assert {each.authorization for each in hub.asked} == {basic("bo@b:pass:of")}
    assert sum("answers 500" in line for line in heard.lines) == 2
    assert not any("pass" in line for line in heard.lines)


def test_no_header_goes_out_twice(tmp_path: Path) -> None:
    told = Credentials(headers={"User-Agent": "hf_hub/2", "Authorization": "Bearer of-bo"})
    with Raw(answer("200 OK", DATA)) as server:
        one(at(server.host, tmp_path), credentials=told)
    names = [line.partition(":")[0].lower() for line in server.heard[0].splitlines()[1:-1]]
    assert sorted(names) == sorted(set(names))
    assert "user-agent: hf_hub/2" in server.heard[0]


def test_a_proxy_gets_its_own_login_and_no_other_in_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Raw(answer("200 OK", DATA)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://bo%40b:pass%3Aof@{proxy.host}")
        one(at("al:secret@hub.invalid", tmp_path, size_bytes=len(DATA)))
    assert "GET http://hub.invalid/it HTTP" in proxy.heard[0]
    assert f"Proxy-Authorization: {basic('bo@b:pass:of')}\r\n" in proxy.heard[0]
    assert "secret" not in proxy.heard[0]


def test_no_proxy_is_asked_for_hosts_that_are_exempt(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", hub.url)
    monkeypatch.setenv("no_proxy", "hub.invalid")
    with pytest.raises(SourceUnreachable, match=r"hub\.invalid is a name that nothing resolves"):
        one(at("hub.invalid", tmp_path))
    assert not hub.asked


def test_a_proxy_of_another_kind_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://bo:pass@127.0.0.1:9")
    with pytest.raises(SourceUnreachable, match="no HTTP proxy: socks5://…") as caught:
        one(at("hub.invalid", tmp_path))
    assert "ALL_PROXY" in caught.value.hint


def test_an_authority_counts_once_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, tls = authority(tmp_path)
    with Raw(answer("200 OK", DATA), tls=tls) as server:
        plain = at(server.host, tmp_path, size_bytes=len(DATA))
        wanted = dataclasses.replace(plain, url=f"https://{server.host}/it")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        heard = Heard()
        with pytest.raises(SourceUnreachable, match="certificate or TLS that we do not") as caught:
            one(wanted, heard)
        assert "SSL_CERT_FILE" in caught.value.hint
        assert not any("again in" in line for line in heard.lines)  # no waiting cures it
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        assert one(wanted).fetched_bytes == len(DATA)


@pytest.mark.parametrize("to", ["http://[hub/a", "http://hub:99999/a", "http://hub:x/", "ftp://h/"])
def test_a_redirect_to_no_address_is_told(to: str) -> None:
    with pytest.raises(SourceUnreachable, match="hub redirects to no address"):
        moved("http://hub/a", to)


def test_a_line_that_ignores_ranges_and_breaks_is_given_up(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", ignore_range=True, cut_after=2_000_000))
    with pytest.raises(SourceUnreachable, match=r"ended|broke"):
        one(big)
    assert len(hub.asked) == 4  # one that came further than before, and three tries


def test_a_wait_that_is_asked_for_has_an_end(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", status=429, headers={"Retry-After": "3600"}))
    began = time.monotonic()
    with pytest.raises(SourceBusy) as caught:
        one(big)
    assert time.monotonic() - began < 5
    assert caught.value.details["retry_after_s"] == 3600


def test_a_body_in_chunks_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    chunk = b"%x\r\n%s\r\n" % (len(DATA), DATA)
    ways = {"Content_Length": "", "Transfer_Encoding": "chunked"}
    whole, cut = (answer("200 OK", chunk + end, **ways) for end in (b"0\r\n\r\n", b""))
    with Raw(cut, whole) as server:
        assert one(at(server.host, tmp_path)).size_bytes == len(DATA)
    assert (tmp_path / "it").read_bytes() == DATA
    assert len(server.heard) == 2


def test_a_body_without_length_that_ends_early_is_resumed(tmp_path: Path) -> None:
    rest = answer("206 Partial Content", DATA[9:], Content_Range=f"bytes 9-{len(DATA) - 1}/*")
    with Raw(answer("200 OK", DATA[:9], Content_Length=""), rest) as server:
        assert one(at(server.host, tmp_path, size_bytes=len(DATA))).size_bytes == len(DATA)
    assert (tmp_path / "it").read_bytes() == DATA
    assert "range: bytes=9-" in server.heard[1]


def test_no_encoding_is_asked_for_and_one_that_comes_is_no_file(tmp_path: Path) -> None:
    packed = answer("200 OK", gzip.compress(DATA), Content_Encoding="gzip")
    with Raw(packed) as server, pytest.raises(SourceCorrupt, match=f"{len(DATA)} are expected"):
        one(at(server.host, tmp_path, size_bytes=len(DATA)))
    assert "accept-encoding: identity" in server.heard[0]


def test_a_range_of_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "it.part").write_bytes(DATA[:100])
    other = answer("206 Partial Content", DATA[100:200], Content_Range="bytes 100-199/200")
    with Raw(other) as server, pytest.raises(SourceCorrupt, match="with 200 bytes, where"):
        one(at(server.host, tmp_path, size_bytes=len(DATA)))
    assert (tmp_path / "it.part").read_bytes() == DATA[:100]


def test_a_number_without_end_is_no_length(tmp_path: Path) -> None:
    told = f"bytes 100-{'9' * 5000}/*"
    (tmp_path / "it.part").write_bytes(DATA[:100])
    odd = answer("206 Partial Content", DATA[100:], Content_Range=told)
    with Raw(odd) as server, pytest.raises(SourceCorrupt, match="asked for byte 100"):
        one(at(server.host, tmp_path, size_bytes=len(DATA)))


def test_a_page_is_no_file_of_which_nothing_is_known(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", html=True))
    with pytest.raises(SourceUnreachable, match="page of HTML"):
        one(dataclasses.replace(big, size_bytes=None, digest=None))
    assert not big.target.exists()


def test_what_nobody_can_verify_is_fetched_whole_each_time(hub: Hub, big: Wanted) -> None:
    unknown = dataclasses.replace(big, size_bytes=None, digest=None)
    big.target.parent.mkdir()
    big.target.write_bytes(b"of yesterday")
    big.target.with_name("big.bin.part").write_bytes(bytes(1000))
    found = one(unknown)
    assert (found.fetched_bytes, found.sha256) == (big.size_bytes, big.digest)
    assert [each.range for each in hub.asked] == [None]


def test_a_size_that_the_answer_tells_must_fit(big: Wanted, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "34m") as folder:
        with pytest.raises(DiskFull):
            one(dataclasses.replace(big, target=folder / "big.bin", size_bytes=None))
        assert (folder / "big.bin.part").stat().st_size == 0


def test_what_is_there_needs_no_room(hub: Hub, big: Wanted, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "38m") as folder:
        data = (hub.root / "o" / "r" / "big.bin").read_bytes()
        (folder / "big.bin.part").write_bytes(data[:4_900_000])
        assert one(dataclasses.replace(big, target=folder / "big.bin")).fetched_bytes == 100_011


def test_who_holds_a_file_and_does_not_go_on_is_told(
    big: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_TELL_S", 0.2)
    big.target.parent.mkdir()
    short = dataclasses.replace(QUICK, read_s=0.1, longest_wait_s=0.1)
    held = filelock.FileLock(big.target.with_name("big.bin.lock"))
    with held, pytest.raises(Busy, match=r"holds o/r/big\.bin, and it grows no more"):
        one(big, patience=short)


def test_what_is_shown_never_goes_backwards(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", cut_after=3_000_000, times=1))
    hub.faults.append(Fault("big", ignore_range=True, piece_s=0.02, times=1))
    heard = Heard()
    one(big, heard)
    shown = [int(line.split()[1]) for line in heard.lines if line.startswith("it ")]
    assert shown == sorted(shown)
    assert len(shown) > 2
