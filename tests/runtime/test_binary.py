from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.runtime.binary import (
    Binary,
    Releases,
    embedded_in,
    installed,
    release_at,
    release_folder,
    release_whole,
    write_release_marker,
    write_releases,
)


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

    assert installed(home, {"PATH": str(release.parent)}) == Binary(path=release, kind="release")
    assert installed(home, {"PATH": str(tmp_path)}) == runtime_binary


def test_a_program_that_may_not_run_is_not_found(release: Path, home: Home) -> None:
    release.chmod(0o644)

    assert installed(home, {"PATH": str(release.parent)}) is None


@pytest.fixture
def ours(home: Home) -> Binary:
    """A release that we installed."""
    made = release_folder(home, "0.30.1")
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "ollama").write_text("#!/bin/sh\n")
    (made / "libollama.so").symlink_to("nowhere")
    write_release_marker(made, "0.30.1", ["ollama-linux-amd64"])
    write_releases(home, Releases(current=made.name, previous=None))
    return release_at(made)


def test_the_users_release_goes_before_ours_and_ours_before_the_embedded_runtime(
    release: Path, ours: Binary, home: Home, runtime_binary: Binary, tmp_path: Path
) -> None:
    folder = runtime_binary.path.parent
    (home.runtimes / folder.name).symlink_to(folder)

    assert installed(home, {"PATH": str(release.parent)}) == Binary(path=release, kind="release")
    assert installed(home, {"PATH": str(tmp_path)}) == ours
    ours.path.write_text("damaged")
    assert installed(home, {"PATH": str(tmp_path)}) == embedded_in(home)


def test_a_release_is_whole_for_the_archives_that_it_is_made_of(ours: Binary, home: Home) -> None:
    folder = ours.path.parents[1]

    assert release_whole(home, folder.name, ["ollama-linux-amd64"])
    assert not release_whole(home, folder.name, ["ollama-linux-amd64", "ollama-linux-amd64-rocm"])
    write_release_marker(folder, "0.30.1")  # a bundle does not say of which archives it was made
    assert release_whole(home, folder.name, ["ollama-linux-amd64", "ollama-linux-amd64-rocm"])
