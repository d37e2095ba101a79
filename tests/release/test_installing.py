import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import filelock
import pytest

from orchestrator import release as room
from orchestrator.errors import (
    DiskFull,
    InvalidInput,
    ModelUnavailable,
    PullFailed,
    SourceCorrupt,
    SourceUnreachable,
)
from orchestrator.home import Home
from orchestrator.release import Box
from orchestrator.release.listing import sums
from orchestrator.runtime.binary import (
    Binary,
    Releases,
    current_release,
    release_folder,
    releases,
)
from orchestrator.transfer import Manners, Patience
from tests.real.disk import fill, small_disk
from tests.real.hub import Fault
from tests.release.publisher import AMD64, Publisher, Quiet, file, link, program, small

_ZST, _TGZ = "ollama-linux-amd64.tar.zst", "ollama-linux-amd64.tgz"
_ROCM = "ollama-linux-amd64-rocm.tar.zst"
_BYTES = random.Random(1).randbytes(3 * 2**20)
_INSTALL = """
import os, sys
from orchestrator.home import Home
from orchestrator.release import Box, Release, install
from tests.release.publisher import Quiet
print("begins", flush=True)
release = Release.of(os.environ, version=sys.argv[1])
install(release, Box(arch="x86_64"), Home.of(os.environ), Quiet())
"""


# What has begun, and how many seconds it lasts.
_MOMENTS: tuple[tuple[Callable[[Home], bool], float], ...] = (
    (lambda _: True, 0.4),  # fetching
    (lambda home: any(home.runtimes.glob(".installing-*")), 0.03),  # unpacking
    (lambda home: release_folder(home, "0.33.0").exists(), 0.01),  # switching and clearing up
)


def _version(home: Home) -> str:
    """What the program that would be started says."""
    binary = current_release(home)
    assert binary is not None
    assert (binary.kind, binary.library_path) == ("release", None)
    return subprocess.run([binary.path, "-v"], capture_output=True, text=True, check=True).stdout


def _there(home: Home) -> list[str]:
    """All that lies where runtimes and downloads are."""
    kept = [p.name for p in (home.cache / "releases").rglob("*")]
    return sorted(p.name for p in home.runtimes.iterdir()) + kept


@pytest.mark.parametrize("name", [_ZST, _TGZ])
def test_a_release_is_fetched_verified_unpacked_and_current(
    publisher: Publisher, home: Home, quiet: Quiet, name: str
) -> None:
    release = publisher.publish("0.30.1", {name: small("0.30.1", _BYTES)})

    binary = room.install(release, AMD64, home, quiet)

    assert binary == current_release(home)
    assert "0.30.1" in _version(home)
    assert _there(home) == ["current.json", "release-0.30.1"], "the archive is not kept"
    marker = json.loads((home.runtimes / "release-0.30.1" / "runtime.json").read_bytes())
    assert (marker["schema"], marker["kind"], marker["version"]) == (1, "release", "0.30.1")
    assert marker["files"]["lib/ollama/libggml-base.so"] == len(_BYTES)
    assert "runtime.json" not in marker["files"]


def test_installing_twice_asks_nobody(publisher: Publisher, home: Home, quiet: Quiet) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1")})
    first = room.install(release, AMD64, home, quiet)
    asked, inode = len(publisher.hub.asked), first.path.stat().st_ino

    assert room.install(release, AMD64, home, quiet) == first
    assert (len(publisher.hub.asked), first.path.stat().st_ino) == (asked, inode)


def test_a_damaged_release_is_not_started_and_is_replaced(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1")})
    room.install(release, AMD64, home, quiet)
    os.truncate(home.runtimes / "release-0.30.1/lib/ollama/libggml-base.so", 1)

    assert current_release(home) is None
    room.install(release, AMD64, home, quiet)
    assert "0.30.1" in _version(home)
    assert _there(home) == ["current.json", "release-0.30.1"]


def test_an_amd_gpu_gets_both_archives_over_each_other(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    rocm = [file("lib/ollama/rocm_v7/libhip.so", b"hip")]
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1"), _ROCM: rocm})
    folder = release_folder(home, "0.30.1")

    room.install(release, AMD64, home, quiet)
    assert not (folder / "lib/ollama/rocm_v7").exists()
    room.install(release, replace(AMD64, gpu="amd"), home, quiet)

    assert (folder / "lib/ollama/rocm_v7/libhip.so").exists(), "a card was added later"
    assert (folder / "bin/ollama").exists()


def test_an_upgrade_keeps_the_one_before_and_a_rollback_swaps_them(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    for version in ("0.24.0", "0.30.1", "0.33.0"):
        room.install(publisher.publish(version, {_ZST: small(version)}), AMD64, home, quiet)

    assert releases(home) == Releases(current="release-0.33.0", previous="release-0.30.1")
    assert _there(home) == ["current.json", "release-0.30.1", "release-0.33.0"]
    assert room.rollback(home, quiet) == current_release(home)
    assert "0.30.1" in _version(home)
    room.rollback(home, quiet)
    assert "0.33.0" in _version(home)


def test_the_one_before_is_the_last_that_runs(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    for version in ("0.24.0", "0.30.1"):
        room.install(publisher.publish(version, {_ZST: small(version)}), AMD64, home, quiet)
    (home.runtimes / "release-0.30.1" / "bin/ollama").unlink()

    room.install(publisher.publish("0.33.0", {_ZST: small("0.33.0")}), AMD64, home, quiet)

    room.rollback(home, quiet)
    assert "0.24.0" in _version(home)


def test_without_a_release_before_there_is_no_rollback(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    room.install(publisher.publish("0.30.1", {_ZST: small("0.30.1")}), AMD64, home, quiet)

    with pytest.raises(InvalidInput, match="no release before this one"):
        room.rollback(home, quiet)
    assert "0.30.1" in _version(home)


def test_before_the_first_release_was_the_embedded_runtime(
    publisher: Publisher, home: Home, quiet: Quiet, runtime_binary: Binary
) -> None:
    built = runtime_binary.path.parent
    shutil.copytree(built, home.runtimes / built.name)
    room.install(publisher.publish("0.30.1", {_ZST: small("0.30.1")}), AMD64, home, quiet)

    assert room.rollback(home, quiet).kind == "embedded"
    assert current_release(home) is None
    assert room.rollback(home, quiet) == current_release(home)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"current": "../../etc", "previous": null}', '{"current": "embedded-1"}']
)
def test_a_torn_or_foreign_note_of_the_current_one_is_none(home: Home, text: str) -> None:
    home.runtimes.mkdir(parents=True)
    (home.runtimes / "current.json").write_text(text)

    assert releases(home).current is None
    assert current_release(home) is None


def test_one_damaged_byte_is_fetched_once_more(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1", _BYTES)})
    # The first request only asks how large it is.
    publisher.hub.faults = [
        Fault(_ZST, times=1),
        Fault(_ZST, corrupt_at=10**6, times=1),
    ]

    room.install(release, AMD64, home, quiet)

    assert "came damaged" in quiet.text
    assert "0.30.1" in _version(home)


def test_what_is_not_what_the_list_names_is_never_unpacked(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1", _BYTES)})
    publisher.hub.faults = [Fault(_ZST, corrupt_at=10**6)]

    with pytest.raises(SourceCorrupt, match=r"damaged, twice.*sha256:"):
        room.install(release, AMD64, home, quiet)

    assert not list(home.runtimes.glob("*"))


def test_an_archive_that_the_list_does_not_name_is_not_installed(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1")})
    listed = publisher.folder("0.30.1") / "sha256sum.txt"
    listed.write_text(listed.read_text().replace(_ZST, "ollama-linux-arm64.tar.zst"))

    with pytest.raises(ModelUnavailable, match="no ollama-linux-amd64 in its list") as e:
        room.install(release, AMD64, home, quiet)

    assert "ollama-linux-arm64.tar.zst" in e.value.what
    assert publisher.sent_bytes(_ZST) == 0


def test_the_newer_format_is_asked_for_first_and_the_older_where_it_is_missing(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    both = {_ZST: small("0.30.1"), _TGZ: small("0.30.1")}
    release = publisher.publish("0.30.1", both)
    (publisher.folder("0.30.1") / _ZST).unlink()

    room.install(release, AMD64, home, quiet)

    assert "0.30.1" in _version(home)
    assert [a.path.rpartition("/")[2] for a in publisher.hub.asked][1] == _ZST


def test_a_version_that_is_not_there(publisher: Publisher, home: Home, quiet: Quiet) -> None:
    with pytest.raises(ModelUnavailable, match=r"has no release 9\.9\.9 of Ollama") as e:
        room.install(publisher.release("9.9.9"), AMD64, home, quiet)

    assert "--version" in e.value.hint


def test_a_captive_portal_is_named(publisher: Publisher, home: Home, quiet: Quiet) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1")})
    publisher.hub.faults = [Fault("v0.30.1", html=True)]

    home.cache.mkdir(parents=True)
    with pytest.raises(SourceUnreachable, match="HTML"):
        sums(release, home.cache, quiet, Patience(tries=1))


def test_a_list_without_one_checksum_is_refused(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1")})
    (publisher.folder("0.30.1") / "sha256sum.txt").write_text("Not Found\n")

    with pytest.raises(SourceCorrupt, match="no list of checksums"):
        room.install(release, AMD64, home, quiet)


def test_a_box_that_no_release_is_for_is_refused_before_anything_is_asked(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1")})

    with pytest.raises(PullFailed, match="darwin") as e:
        room.install(release, Box(os="darwin", arch="arm64"), home, quiet)

    assert "ollama.com/download" in e.value.hint
    assert not publisher.hub.asked


def test_a_program_that_does_not_run_here_is_not_installed(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    bad = [file("bin/ollama", b"#!/bin/sh\necho 'GLIBC_2.99 not found'; exit 1\n", 0o755)]
    release = publisher.publish("0.30.1", {_ZST: bad})

    with pytest.raises(PullFailed, match=r"does not run here \(1\): it said GLIBC_2\.99"):
        room.install(release, AMD64, home, quiet)

    assert not list(home.runtimes.iterdir())


def test_a_hostile_archive_leaves_the_current_release_alone(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    room.install(publisher.publish("0.30.1", {_ZST: small("0.30.1")}), AMD64, home, quiet)
    evil = [file("bin/ollama", program("6"), 0o755), link("lib/a", "../../../../evil")]

    with pytest.raises(SourceCorrupt, match="is refused"):
        room.install(publisher.publish("0.33.0", {_ZST: evil}), AMD64, home, quiet)

    assert "0.30.1" in _version(home)
    assert _there(home)[:2] == ["current.json", "release-0.30.1"]
    assert not list(home.cache.rglob("*.zst"))


def test_a_disk_that_is_too_small_is_told_before_the_archive_is_fetched(
    publisher: Publisher, tmp_path: Path, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1", _BYTES)})

    with small_disk(tmp_path / "disk", "36m") as disk:
        home = Home.of({"DEPLOY_HOME": str(disk)})
        with pytest.raises(DiskFull) as e:
            room.install(release, AMD64, home, quiet)
        assert not list(home.cache.rglob("*.tar.*"))

    assert e.value.details["needed_bytes"] > 4 * len(_BYTES)


def test_a_disk_that_is_full_while_unpacking_loses_nothing(
    publisher: Publisher, tmp_path: Path, quiet: Quiet
) -> None:
    zeros = bytes(40 * 2**20)  # a few bytes of archive
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1", zeros)})

    with small_disk(tmp_path / "disk", "60m") as disk:
        home = Home(disk / "data", tmp_path / "state", tmp_path / "cache")
        with pytest.raises(DiskFull):
            room.install(release, AMD64, home, quiet)
        assert not list(home.runtimes.iterdir())
    sent = publisher.sent_bytes(_ZST)
    home = Home(tmp_path / "data", tmp_path / "state", tmp_path / "cache")
    room.install(release, AMD64, home, quiet)

    assert "0.30.1" in _version(home)
    assert publisher.sent_bytes(_ZST) - sent <= 2**17, "only asked for its size again"


@contextmanager
def _noexec(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m,noexec", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_may_run_no_programs(
    publisher: Publisher, tmp_path: Path, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1")})

    with _noexec(tmp_path / "disk") as disk:
        home = Home(disk / "data", tmp_path / "state", tmp_path / "cache")
        with pytest.raises(PullFailed, match="no program may run below") as e:
            room.install(release, AMD64, home, quiet)

    assert "DEPLOY_HOME" in e.value.hint


def test_the_rate_is_kept(publisher: Publisher, home: Home, quiet: Quiet) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1", _BYTES)})
    begun = time.monotonic()

    room.install(release, AMD64, home, quiet, manners=Manners(bytes_per_s=2.5e6))

    assert time.monotonic() - begun > 1


def _other(home: Home, publisher: Publisher, version: str) -> "subprocess.Popen[bytes]":
    """Install in another process, that has begun when this returns."""
    env = {
        **os.environ,
        "DEPLOY_HOME": str(home.data.parent),
        "DEPLOY_RUNTIME_URL": publisher.base_url,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    child = subprocess.Popen(
        [sys.executable, "-c", _INSTALL, version], env=env, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"begins\n"
    return child


def test_two_at_once(publisher: Publisher, home: Home) -> None:
    publisher.publish("0.30.1", {_ZST: small("0.30.1", _BYTES)})
    size = (publisher.folder("0.30.1") / _ZST).stat().st_size
    children = [_other(home, publisher, "0.30.1") for _ in range(2)]

    assert [child.wait(timeout=60) for child in children] == [0, 0]
    assert _there(home) == ["current.json", "release-0.30.1"]
    assert publisher.sent_bytes(_ZST) < 1.5 * size, "one of them has fetched it"


def test_nothing_is_asked_while_another_installation_runs(publisher: Publisher, home: Home) -> None:
    publisher.publish("0.30.1", {_ZST: small("0.30.1")})
    home.state.mkdir(parents=True)

    with filelock.FileLock(home.state / "runtime-install.lock"):
        child = _other(home, publisher, "0.30.1")
        time.sleep(0.5)
        assert child.poll() is None
        assert not publisher.hub.asked
    assert child.wait(timeout=30) == 0


def test_what_was_fetched_before_a_kill_is_not_fetched_again(
    publisher: Publisher, home: Home, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1", _BYTES)})
    size = (publisher.folder("0.30.1") / _ZST).stat().st_size
    publisher.hub.faults = [Fault(_ZST, times=1), Fault(_ZST, piece_s=0.02)]
    child = _other(home, publisher, "0.30.1")
    part = home.cache / "releases" / "v0.30.1" / f"{_ZST}.part"
    while not part.exists() or part.stat().st_size < 10**6:
        assert child.poll() is None
        time.sleep(0.005)
    child.kill()
    child.wait()
    there = part.stat().st_size
    publisher.hub.settled()
    publisher.hub.faults = []
    publisher.hub.forget()

    room.install(release, AMD64, home, quiet)

    got = [a for a in publisher.hub.asked if a.path.endswith(_ZST) and a.range]
    assert [a.range for a in got] == [f"bytes={there}-"]
    assert sum(a.sent_bytes for a in got) == size - there


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(n, marks=pytest.mark.soak) for n in range(3, 20))]
)
def test_killed_at_any_moment_it_is_finished_by_the_next_run(
    publisher: Publisher, home: Home, quiet: Quiet, seed: int
) -> None:
    for version in ("0.24.0", "0.30.1"):
        room.install(publisher.publish(version, {_ZST: small(version)}), AMD64, home, quiet)
    release = publisher.publish("0.33.0", {_ZST: small("0.33.0", _BYTES)})
    publisher.hub.faults = [Fault(_ZST, piece_s=0.004)]
    child = _other(home, publisher, "0.33.0")
    moment, most_s = _MOMENTS[seed % len(_MOMENTS)]
    while not moment(home) and child.poll() is None:
        time.sleep(0.0005)
    time.sleep(random.Random(seed).uniform(0, most_s))
    child.send_signal(signal.SIGKILL)
    child.wait()
    publisher.hub.faults = []

    assert _version(home).split()[-1] in {"0.30.1", "0.33.0"}, "there is one at each moment"
    room.install(release, AMD64, home, quiet)

    assert "0.33.0" in _version(home)
    assert _there(home) == ["current.json", "release-0.30.1", "release-0.33.0"]
    assert not list(home.runtimes.glob(".*"))
    room.rollback(home, quiet)
    assert "0.30.1" in _version(home)


def test_a_home_that_is_a_file(publisher: Publisher, tmp_path: Path, quiet: Quiet) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(PullFailed, match="cannot write"):
        room.install(
            publisher.publish("0.30.1", {_ZST: small("0.30.1")}),
            AMD64,
            Home.of({"DEPLOY_HOME": str(tmp_path / "file")}),
            quiet,
        )


def test_the_archive_outlives_a_disk_that_fills_up_while_it_comes(
    publisher: Publisher, tmp_path: Path, quiet: Quiet
) -> None:
    release = publisher.publish("0.30.1", {_ZST: small("0.30.1", _BYTES)})
    publisher.hub.faults = [Fault(_ZST, times=1), Fault(_ZST, piece_s=0.02)]

    with small_disk(tmp_path / "disk", "80m") as disk:
        home = Home(tmp_path / "data", tmp_path / "state", disk / "cache")
        child = _other_in(home, publisher)
        part = home.cache / "releases" / "v0.30.1" / f"{_ZST}.part"
        while not part.exists() or part.stat().st_size < 10**6:
            assert child.poll() is None
            time.sleep(0.005)
        fill(disk)
        assert child.wait(timeout=30) == 1
        assert part.stat().st_size >= 10**6
        (disk / "ballast").unlink()
        publisher.hub.faults = []
        room.install(release, AMD64, home, quiet)
        assert "0.30.1" in _version(home)


def _other_in(home: Home, publisher: Publisher) -> "subprocess.Popen[bytes]":
    code = f"""
from pathlib import Path
from orchestrator.home import Home
from orchestrator.release import Box, Release, install
from orchestrator.errors import DiskFull
from tests.release.publisher import Quiet
home = Home(Path({str(home.data)!r}), Path({str(home.state)!r}), Path({str(home.cache)!r}))
release = Release.of({{}}, version="0.30.1", base_url={publisher.base_url!r})
try:
    install(release, Box(arch="x86_64"), home, Quiet())
except DiskFull:
    raise SystemExit(1)
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", code], env=env, stdin=subprocess.DEVNULL)
