from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.runtime.binary import Binary, installed


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
