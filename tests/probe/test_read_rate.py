"""How fast a store is read: real files on the disk of the tests."""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.probe import read_rate as room
from orchestrator.probe.read_rate import read_rate
from orchestrator.units import GIB, MIB

CACHE = Path(__file__).parents[2] / ".cache"


@pytest.fixture
def store() -> Iterator[Path]:
    """A store with a blob of 64 MiB, on the disk of this clone: /tmp may lie in memory."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        (Path(folder) / "blobs").mkdir()
        blob(Path(folder), "sha256-1", 64 * MIB)
        yield Path(folder)


def blob(store: Path, name: str, size: int) -> Path:
    path = store / "blobs" / name
    path.write_bytes(os.urandom(MIB) * (size // MIB))
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path


def test_a_blob_is_read_in_a_third_of_a_second(store: Path) -> None:
    started = time.monotonic()
    rate = read_rate(store)
    assert time.monotonic() - started < 2
    assert rate.why is None
    assert rate.bytes_per_s
    assert MIB < rate.bytes_per_s < 100 * GIB


def test_a_store_is_the_same_after_the_measurement(store: Path) -> None:
    path = store / "blobs" / "sha256-1"

    def state() -> tuple[object, ...]:
        facts = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, digest, sorted(store.rglob("*"))

    before = state()
    assert read_rate(str(store)).bytes_per_s
    assert state() == before


def test_the_largest_whole_blob_is_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = blob(store, "sha256-2", 96 * MIB)
    blob(store, "sha256-3-partial", 128 * MIB)
    blob(store, "notes", 128 * MIB)
    opened: list[Path] = []
    really = os.open

    def noted(path: Path, flags: int, *more: int, **at: int) -> int:
        opened.append(path)
        return really(path, flags, *more, **at)

    monkeypatch.setattr(os, "open", noted)
    assert read_rate(store).bytes_per_s
    assert set(opened) == {largest}


def test_no_more_is_read_than_is_promised(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    really = os.readv

    def noted(opened: int, buffers: list[bytearray]) -> int:
        read.append(got := really(opened, buffers))
        return got

    monkeypatch.setattr(os, "readv", noted)
    monkeypatch.setattr(room, "_MOST_BYTES", 8 * MIB)
    assert read_rate(store).bytes_per_s
    assert sum(read) == 8 * MIB


def test_a_slow_disk_is_not_read_to_the_end(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    really = os.readv

    def slow(opened: int, buffers: list[bytearray]) -> int:
        time.sleep(0.1)
        read.append(got := really(opened, buffers))
        return got

    monkeypatch.setattr(os, "readv", slow)
    rate = read_rate(store).bytes_per_s
    assert rate
    assert rate < 64 * MIB
    assert 0 < len(read) <= 3


def test_where_nothing_is_read_past_the_cache_the_cache_is_emptied_first(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store / "blobs" / "sha256-1"
    path.read_bytes()
    monkeypatch.delattr(os, "O_DIRECT")
    with path.open("rb") as file:
        assert room._cached(file.fileno())  # noqa: SLF001 - or the test would prove nothing
    assert read_rate(store).bytes_per_s


def test_what_stays_in_the_cache_is_not_taken_for_the_disk(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "blobs" / "sha256-1").read_bytes()
    monkeypatch.delattr(os, "O_DIRECT")
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: None)  # as of pages that a runner maps
    rate = read_rate(store)
    assert rate.bytes_per_s is None
    assert rate.why
    assert "page cache" in rate.why


@pytest.mark.parametrize(
    ("path", "why"),
    [
        pytest.param(None, "not known", id="unknown"),
        pytest.param(Path("/absent"), "no blob", id="absent"),
        pytest.param(Path("/dev/shm"), "in memory", id="in-memory"),
    ],
)
def test_without_a_number_there_is_a_reason(path: Path | None, why: str) -> None:
    rate = read_rate(path)
    assert rate.bytes_per_s is None
    assert rate.why
    assert why in rate.why


def test_a_blob_too_small_to_time_is_not_timed(store: Path) -> None:
    (store / "blobs" / "sha256-1").unlink()
    blob(store, "sha256-4", 2 * MIB)
    rate = read_rate(store)
    assert rate.bytes_per_s is None
    assert rate.why
    assert "no blob of 16 MiB" in rate.why


def test_a_disk_that_fails_has_no_rate(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "readv", broken)
    assert read_rate(store).bytes_per_s is None
