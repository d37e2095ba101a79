"""Downloads over lines that fail; what went out is counted at the server."""

import dataclasses
import email.utils
import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import (
    DeployError,
    DiskFull,
    ModelUnavailable,
    SourceBusy,
    SourceCorrupt,
    SourceUnreachable,
)
from orchestrator.transfer import Credentials, Fetched, Manners, Patience, Wanted, fetch
from orchestrator.transfer.answer import moved
from tests.loop.heard import Heard
from tests.real.disk import fill, small_disk
from tests.real.hub import SIGNATURE, Fault, Hub

QUICK = Patience(connect_s=2, read_s=1, tries=3, longest_wait_s=0.2)
TOKEN = "hf_secretsecret"
OF_A_HUB = Credentials(headers={"Authorization": f"Bearer {TOKEN}"}, login="set HF_TOKEN")
IN_FLIGHT = 1024**2 + 512 * 1024  # one piece, and the buffers of the sockets

_CHILD = """
import sys
from pathlib import Path
from orchestrator.transfer import Wanted, Patience, fetch
from tests.loop.heard import Heard
url, target, size, digest = sys.argv[1:]
wanted = Wanted(url=url, target=Path(target), what="big", size_bytes=int(size), digest=digest)
heard = Heard()
found = fetch([wanted], "big", heard, patience=Patience(tries=4, longest_wait_s=0.5))
print(found[0].fetched_bytes, "waiting" in " ".join(heard.lines))
"""


def one(wanted: Wanted, heard: Heard | None = None, **more: Any) -> Fetched:
    return fetch([wanted], "big", heard or Heard(), **{"patience": QUICK, **more})[0]


def child(wanted: Wanted) -> subprocess.Popen[str]:
    told = [wanted.url, str(wanted.target), str(wanted.size_bytes), str(wanted.digest)]
    command = [sys.executable, "-c", _CHILD, *told]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def part(wanted: Wanted) -> Path:
    return wanted.target.with_name("big.bin.part")


def whole(wanted: Wanted) -> bool:
    """Say whether the file is in its place, right, and alone there."""
    found = hashlib.sha256(wanted.target.read_bytes()).hexdigest()
    alone = [each.name for each in wanted.target.parent.iterdir()] == [wanted.target.name]
    return alone and wanted.digest == f"sha256:{found}"


def test_a_file_comes_once_and_is_told_whole(hub: Hub, big: Wanted) -> None:
    heard = Heard()
    found = one(big, heard)
    assert found == Fetched(
        path=big.target,
        size_bytes=big.size_bytes or 0,
        sha256=big.digest or "",
        fetched_bytes=hub.sent_bytes,
    )
    assert whole(big)
    assert heard.lines[-1] == f"big {big.size_bytes} {big.size_bytes}"


def test_a_file_that_is_there_is_verified_and_not_fetched(hub: Hub, big: Wanted) -> None:
    one(big)
    hub.forget()
    assert one(big).fetched_bytes == 0
    assert hub.asked == []


def test_a_damaged_file_of_the_right_size_is_replaced(big: Wanted) -> None:
    big.target.parent.mkdir()
    big.target.write_bytes(bytes(big.size_bytes or 0))
    assert one(big).fetched_bytes == big.size_bytes
    assert whole(big)


def test_no_byte_is_fetched_twice_over_a_line_that_ends_thrice(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", cut_after=1_234_567, times=3))
    assert one(big, patience=dataclasses.replace(QUICK, tries=1)).fetched_bytes == big.size_bytes
    assert hub.sent_bytes == big.size_bytes
    assert [each.range for each in hub.asked][:2] == [None, "bytes=1234567-"]
    assert whole(big)


def test_a_reset_resumes(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", cut_after=3_000_000, reset=True, times=1))
    one(big)
    assert whole(big)
    assert hub.sent_bytes < (big.size_bytes or 0) + IN_FLIGHT
    assert hub.asked[1].range


def test_a_stall_is_noticed_and_resumed_where_it_was(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", stall_after=2_000_000, times=1))
    heard = Heard()
    began = time.monotonic()
    one(big, heard)
    assert 1 <= time.monotonic() - began < 5
    assert hub.sent_bytes < (big.size_bytes or 0) + IN_FLIGHT
    assert any("sent no byte for 1 s" in line for line in heard.lines)


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ({"status": 503}, SourceBusy, "come back later \\(503\\)"),
        ({"status": 408}, SourceBusy, "come back later \\(408\\)"),
        ({"status": 429}, SourceBusy, "come back later \\(429\\)"),
        ({"status": 500}, SourceUnreachable, "answers 500"),
        ({"html": True}, SourceUnreachable, "page of HTML"),
        ({"hang": True}, SourceUnreachable, "sent no byte for 0.3 s"),
    ],
    ids=["503", "408", "429", "500", "html", "hang"],
)
def test_what_waiting_cures_is_tried_again_and_then_told(
    hub: Hub, big: Wanted, fault: dict[str, Any], kind: type[DeployError], said: str
) -> None:
    patience = dataclasses.replace(QUICK, read_s=0.3)
    hub.faults.append(Fault("big", **fault, times=2))
    one(big, patience=patience)
    assert whole(big)
    big.target.unlink()
    hub.forget()
    hub.faults.append(Fault("big", **fault))
    with pytest.raises(kind, match=said):
        one(big, patience=patience)
    assert len(hub.asked) == 3


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_who_asks_to_wait_is_waited_for(hub: Hub, big: Wanted, as_date: bool) -> None:
    after = email.utils.formatdate(time.time() + 3, usegmt=True) if as_date else "2"
    hub.faults.append(Fault("big", status=429, headers={"Retry-After": after}, times=1))
    heard = Heard()
    began = time.monotonic()
    one(big, heard, patience=dataclasses.replace(QUICK, longest_wait_s=10))
    assert 1.5 <= time.monotonic() - began < 5
    assert any("again in" in line for line in heard.lines)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "spelled"), (410, "spelled"), (451, "spelled")],
)
def test_what_no_waiting_cures_is_asked_once(hub: Hub, big: Wanted, status: int, hint: str) -> None:
    hub.faults.append(Fault("big", status=status))
    with pytest.raises(ModelUnavailable, match=str(status)) as caught:
        one(big, credentials=OF_A_HUB)
    assert hint in caught.value.hint
    assert len(hub.asked) == 1
    assert TOKEN not in f"{caught.value.to_json()}{caught.value!r}{OF_A_HUB!r}"


def test_a_flipped_byte_is_found_and_the_file_fetched_again(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", corrupt_at=4_000_000, times=1))
    assert one(big).fetched_bytes == 2 * (big.size_bytes or 0)
    assert whole(big)


def test_a_file_damaged_twice_is_told_and_thrown_away(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", corrupt_at=4_000_000))
    with pytest.raises(SourceCorrupt, match="damaged, twice") as caught:
        one(big)
    assert caught.value.details["want"] == big.digest
    assert caught.value.details["got"] != big.digest
    assert len(hub.asked) == 2
    assert not part(big).exists()
    assert not big.target.exists()


def test_another_length_is_told_with_both_numbers(big: Wanted) -> None:
    other = dataclasses.replace(big, size_bytes=4_000_000)
    with pytest.raises(SourceCorrupt, match=r"5000011 bytes, where 4000000 are expected"):
        one(other)


def test_an_ignored_range_begins_anew(hub: Hub, big: Wanted) -> None:
    big.target.parent.mkdir()
    part(big).write_bytes((hub.root / "o/r/big.bin").read_bytes()[:2_000_000])
    hub.faults.append(Fault("big", ignore_range=True))
    assert one(big).fetched_bytes == big.size_bytes
    assert whole(big)


def test_a_wrong_range_is_refused(hub: Hub, big: Wanted) -> None:
    big.target.parent.mkdir()
    part(big).write_bytes((hub.root / "o/r/big.bin").read_bytes()[:2_000_000])
    hub.faults.append(Fault("big", headers={"Content-Range": "bytes 7-5000010/5000011"}))
    hub.faults[0].status, hub.faults[0].body = 206, b"x"
    with pytest.raises(SourceCorrupt, match="asked for byte 2000000 and sent bytes 7-"):
        one(big)


@pytest.mark.parametrize("known", [True, False], ids=["size known", "416"])
def test_a_part_that_is_too_long_begins_anew(big: Wanted, known: bool) -> None:
    big.target.parent.mkdir()
    part(big).write_bytes(bytes(6_000_000))
    one(big if known else dataclasses.replace(big, size_bytes=None))
    assert whole(big)


def test_the_digest_of_a_git_blob_is_known(hub: Hub, big: Wanted) -> None:
    data = (hub.root / "o/r/big.bin").read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    found = one(dataclasses.replace(big, digest=f"git:{blob}"))
    assert found.sha256 == big.digest
    with pytest.raises(SourceCorrupt, match="want git:0000"):
        one(dataclasses.replace(big, digest="git:" + "0" * 40))


def test_the_token_goes_to_the_hub_and_never_to_where_it_redirects(hub: Hub, big: Wanted) -> None:
    hub.gated.add("o/r")
    hub.token = TOKEN
    with Hub(hub.root) as far:
        hub.elsewhere = far.url.replace("127.0.0.1", "localhost")
        far.faults += [
            Fault("big", cut_after=2_000_000, times=1),
            Fault("big", status=403, times=1),  # the signature expired
        ]
        heard = Heard()
        one(big, heard, credentials=OF_A_HUB)
        assert {each.authorization for each in hub.asked} == {f"Bearer {TOKEN}"}
        assert {each.authorization for each in far.asked} == {None}
        assert {each.host.partition(":")[0] for each in far.asked} == {"localhost"}
        assert len(hub.asked) == len(far.asked) == 3  # a fresh redirect for each try
        assert any("localhost" in line and "403" in line for line in heard.lines)
        assert not any(TOKEN in line or SIGNATURE in line for line in heard.lines)
    assert whole(big)


def test_the_host_that_failed_is_named_without_its_query(hub: Hub, big: Wanted) -> None:
    hub.elsewhere = "http://localhost:9"
    with pytest.raises(SourceUnreachable, match="localhost:9 takes no connection") as caught:
        one(big, credentials=OF_A_HUB)
    chain = f"{caught.value!r}{caught.value.__cause__!r}{caught.value.to_json()}"
    assert SIGNATURE not in chain
    assert TOKEN not in chain


def test_a_redirect_without_end_ends(hub: Hub, big: Wanted) -> None:
    hub.elsewhere = hub.url
    with pytest.raises(SourceUnreachable, match="redirects more than 5 times"):
        one(big, patience=dataclasses.replace(QUICK, tries=1))
    assert len(hub.asked) == 6


def test_no_redirect_leads_out_of_tls() -> None:
    with pytest.raises(SourceUnreachable, match="redirects to portal:80 without TLS"):
        moved("https://hub/a", "http://portal:80/login?for=secret")
    assert moved("https://hub/a/b", "/c") == "https://hub/c"


def test_no_proxy_stands_before_loopback(big: Wanted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    one(big)
    assert whole(big)


def test_a_proxy_of_the_environment_is_asked(
    hub: Hub, big: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://bo:pass-of-bo@{hub.host}")
    away = dataclasses.replace(big, url="http://hub.invalid/o/r/resolve/main/big.bin")
    one(away)
    assert {each.host for each in hub.asked} == {"hub.invalid"}


def test_a_new_process_goes_on_after_a_kill(hub: Hub, big: Wanted) -> None:
    _killed(hub, big, [1.2])


def test_three_kills_at_random_moments_lose_nothing(hub: Hub, big: Wanted) -> None:
    _killed(hub, big, [random.Random(3).uniform(0.3, 1.5) for _ in range(3)])


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_twenty_kills_at_random_moments_lose_nothing(hub: Hub, big: Wanted) -> None:
    _killed(hub, big, [random.Random(20).uniform(0.3, 1.5) for _ in range(20)])


def _killed(hub: Hub, big: Wanted, moments_s: list[float]) -> None:
    """Kill a process at each moment, then finish: nothing twice but what was in flight."""
    slow = Fault("big", piece_s=0.03)
    hub.faults.append(slow)
    for moment_s in moments_s:
        running = child(big)
        time.sleep(moment_s)
        running.kill()
        running.communicate()
    hub.faults.remove(slow)
    one(big)
    assert whole(big)
    killed = len([each for each in hub.asked if each.sent_bytes]) - 1
    assert hub.sent_bytes <= (big.size_bytes or 0) + max(killed, 1) * IN_FLIGHT


def test_two_processes_share_one_download(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", piece_s=0.08, times=1))
    both = [child(big), child(big)]
    told = sorted(each.communicate(timeout=60)[0].split() for each in both)
    assert told == [["0", "True"], [str(big.size_bytes), "False"]]
    assert hub.sent_bytes == big.size_bytes


def test_a_rate_is_held_by_all_files_together(big: Wanted, tmp_path: Path) -> None:
    wanted = [dataclasses.replace(big, target=tmp_path / f"{n}" / "big.bin") for n in range(2)]
    began = time.monotonic()
    fetch(wanted, "both", Heard(), manners=Manners(bytes_per_s=5e6), patience=QUICK)
    assert 2 / 3 < time.monotonic() - began < 6


def test_a_disk_that_is_too_small_is_told_before_a_byte_moves(
    hub: Hub, big: Wanted, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small", "8m") as folder:
        with pytest.raises(DiskFull) as caught:
            one(dataclasses.replace(big, target=folder / "big.bin"))
        assert caught.value.details["needed_bytes"] > (big.size_bytes or 0)
        assert caught.value.details["free_bytes"] == 8 * 1024**2
    assert hub.asked == []


def test_a_disk_that_fills_up_keeps_what_came(hub: Hub, big: Wanted, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "60m") as folder:
        wanted = dataclasses.replace(big, target=folder / "big.bin")
        hub.faults.append(Fault("big", piece_s=0.03, times=1))
        filling = threading.Timer(0.7, fill, [folder])
        filling.start()
        with pytest.raises(DiskFull) as caught:
            one(wanted)
        filling.join()
        came = part(wanted).stat().st_size
        assert 0 < came < (big.size_bytes or 0)
        assert caught.value.details["needed_bytes"] == (big.size_bytes or 0) - came
        (folder / "ballast").unlink()
        one(wanted)
        assert whole(wanted)


def test_the_first_failure_ends_all_and_keeps_their_parts(
    hub: Hub, big: Wanted, tmp_path: Path
) -> None:
    (hub.root / "o/r/slow.bin").write_bytes(bytes(5_000_000))
    slow = Wanted(
        url=f"{hub.url}/o/r/resolve/main/slow.bin", target=tmp_path / "got/slow.bin", what="slow"
    )
    hub.faults += [Fault("slow", stall_after=1_000_000)]
    missing = dataclasses.replace(big, url=f"{hub.url}/o/r/resolve/other/big.bin")
    hub.faults.append(Fault("other", piece_s=1, status=404))
    began = time.monotonic()
    patience = dataclasses.replace(QUICK, read_s=30)
    with pytest.raises(ModelUnavailable):
        fetch([slow, missing], "both", Heard(), patience=patience)
    assert time.monotonic() - began < 3


def test_an_interrupt_ends_a_stalled_download_at_once(hub: Hub, big: Wanted) -> None:
    hub.faults.append(Fault("big", stall_after=2_000_000, piece_s=0.02))
    running = child(big)
    while not part(big).exists() or part(big).stat().st_size < 2_000_000:
        time.sleep(0.05)
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode
    assert time.monotonic() - began < 3
    assert part(big).stat().st_size == 2_000_000
