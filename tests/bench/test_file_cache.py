"""The kernel's file cache, with real files on the disk and on a tmpfs."""

import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.bench import file_cache
from orchestrator.bench.file_cache import cached_share, evict
from orchestrator.units import MIB

_NOBODY = 65534
_PAGES = 2048


@pytest.fixture
def written() -> Iterator[Path]:
    """A file on the disk, where /tmp may not be, still in memory as a download leaves it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        path = Path(folder) / "weights"
        path.write_bytes(os.urandom(_PAGES * mmap.PAGESIZE))
        yield path


@pytest.fixture
def in_memory() -> Iterator[Path]:
    path = Path(f"/dev/shm/deploy-test-{os.getpid()}")
    path.write_bytes(os.urandom(MIB))
    yield path
    path.unlink()


def test_a_written_file_is_forgotten_and_read_again_in_part(written: Path) -> None:
    assert cached_share(written) == 1.0
    assert evict(written)
    assert cached_share(written) == 0.0
    with written.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # nothing is read ahead
        os.pread(file.fileno(), 512 * mmap.PAGESIZE, 0)

    assert cached_share(written) == pytest.approx(512 / _PAGES, abs=0.02)


def test_slices_add_up(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evict(written)
    with written.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(file.fileno(), 1024 * mmap.PAGESIZE, 512 * mmap.PAGESIZE)
    whole = cached_share(written)
    monkeypatch.setattr(file_cache, "_SLICE_BYTES", 100 * mmap.PAGESIZE)

    assert cached_share(written) == whole == pytest.approx(0.5, abs=0.02)


def test_a_file_that_is_mapped_and_in_use_stays_and_that_is_said(written: Path) -> None:
    with written.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE])  # every page is touched
        assert not evict(written)
        assert cached_share(written) == 1.0
    assert evict(written)


def test_a_tmpfs_has_nowhere_else_to_keep_a_file(in_memory: Path) -> None:
    assert not evict(in_memory)
    assert cached_share(in_memory) == 1.0


@pytest.mark.parametrize("name", ["absent", "folder", "empty", "with\0zero"])
def test_what_is_no_file_with_pages_is_unknown(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()

    assert cached_share(tmp_path / name) is None
    assert not evict(tmp_path / name)


def test_a_file_that_takes_too_long_is_unknown(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_cache, "_LIMIT_S", -1.0)

    assert cached_share(written) is None


@pytest.fixture
def nobody() -> Iterator[None]:
    """Be an account that owns nothing; who is no root already owns nothing of the system's."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    yield
    os.seteuid(before)


@pytest.mark.usefixtures("nobody")
def test_of_files_that_are_not_ours_linux_says_that_all_is_there_so_they_are_unknown() -> None:
    system = Path("/bin/sh")  # root's, and for everybody to read

    assert system.stat().st_uid != os.geteuid()
    assert cached_share(system) is None
    assert not evict(system)


def test_another_system_has_no_answer(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert cached_share(written) is None
    assert not evict(written)
