"""Disks that are too small, before the work and in the middle of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.bundle import room
from orchestrator.bundle.create import create
from orchestrator.bundle.load import load
from orchestrator.cli.terminal import Plain
from orchestrator.errors import DiskFull
from tests.bundle.conftest import NAME, OTHER, Box, box, put
from tests.conftest import RunDeploy
from tests.real.disk import fill, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "32m") as folder:
        yield folder


@pytest.fixture
def on_disk(disk: Path) -> Box:
    """A box whose store is on the small disk, with one model that must stay as it is."""
    made = box(disk / "box")
    put(made.models, "kept:1b", b"kept" * 1000)
    return made


@pytest.fixture
def bundle(source: Box, tmp_path: Path) -> Path:
    put(source.models, "large:1b", os.urandom(20_000_000))
    file = tmp_path / "b.tar"
    create(("large:1b",), file, source.home, source.environ, Plain())
    return file


def test_a_bundle_that_does_not_fit_is_not_begun(source: Box, disk: Path) -> None:
    put(source.models, NAME, os.urandom(20_000_000))
    with pytest.raises(DiskFull, match="needed") as caught:
        create((NAME,), disk / "b.tar", source.home, source.environ, Plain())
    assert "-o" in caught.value.hint
    assert caught.value.details["needed_bytes"] > 20_000_000
    assert list(disk.glob("b.tar*")) == []


def test_a_disk_that_fills_while_the_bundle_is_written_keeps_the_old_one(
    source: Box, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create((OTHER,), disk / "b.tar", source.home, source.environ, Plain())
    before = (disk / "b.tar").read_bytes()
    put(source.models, NAME, os.urandom(36_000_000))
    monkeypatch.setattr(room, "check", lambda *_: None)  # somebody else writes meanwhile

    with pytest.raises(DiskFull):
        create((NAME,), disk / "b.tar", source.home, source.environ, Plain(), force=True)

    assert (disk / "b.tar").read_bytes() == before
    assert [p.name for p in disk.iterdir()] == ["b.tar"]


def test_a_load_that_does_not_fit_is_not_begun(bundle: Path, on_disk: Box) -> None:
    before = on_disk.files
    with pytest.raises(DiskFull, match="needed") as caught:
        load(bundle, on_disk.home, on_disk.environ, Plain())
    assert caught.value.exit_code == 6
    assert on_disk.files == before


@pytest.mark.parametrize("left", [0, 64 * 1024, 8_000_000])
def test_a_disk_that_fills_while_it_loads_loses_nothing(
    bundle: Path, on_disk: Box, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (on_disk.folder / "deploy" / "state").mkdir(parents=True)
    before = on_disk.files
    fill(on_disk.folder)
    ballast = on_disk.folder / "ballast"
    os.truncate(ballast, ballast.stat().st_size - left)
    monkeypatch.setattr(room, "check", lambda *_: None)

    with pytest.raises(DiskFull):
        load(bundle, on_disk.home, on_disk.environ, Plain())

    assert on_disk.files == before
    ballast.unlink()
    load(bundle, on_disk.home, on_disk.environ, Plain())
    assert set(on_disk.store.names()) == {"kept:1b", "large:1b"}


def test_the_command_ends_with_6(bundle: Path, on_disk: Box, run_deploy: RunDeploy) -> None:
    done = run_deploy("bundle", "load", bundle, env=on_disk.env)
    assert done.returncode == 6, done.stderr
    assert "free" in done.stderr
