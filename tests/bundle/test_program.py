"""The runtime in a bundle: a release as it is installed, taken along and put in place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.bundle import program
from orchestrator.bundle.archive import opened, peek
from orchestrator.bundle.create import create
from orchestrator.bundle.load import load
from orchestrator.cli.terminal import Plain
from orchestrator.errors import InvalidInput, PullFailed, ServerUnreachable, SourceCorrupt
from orchestrator.runtime import installed
from orchestrator.runtime.binary import release_at, releases
from tests.bundle.conftest import NAME, Box, rewritten

_SCRIPT = "#!/bin/sh\necho 'Warning: client version is 0.33.1'\n"


@pytest.fixture
def bundle(source: Box) -> Path:
    """A bundle with a release that the box has in its PATH, a link among its libraries."""
    root = source.folder / "usr"
    (root / "bin").mkdir(parents=True)
    (root / "lib/ollama/cuda_v13").mkdir(parents=True)
    (root / "bin/ollama").write_text(_SCRIPT)
    (root / "bin/ollama").chmod(0o755)
    (root / "bin/other").write_text("none of ours")
    (root / "lib/ollama/cuda_v13/libx.so.1.2").write_bytes(b"x" * 100_000)
    (root / "lib/ollama/cuda_v13/libx.so.1").symlink_to("libx.so.1.2")
    (root / "lib/ollama/cuda_v13/libx.so").symlink_to("libx.so.1")
    file, environ = source.folder / "b.tar", {**source.env, "PATH": str(root / "bin")}
    create((NAME,), file, source.home, environ, Plain(), with_runtime=True)
    return file


def installation(bundle: Path, target: Box) -> Path:
    with opened(bundle) as archive:
        told = archive.index.runtime
        assert told is not None
        return program.install(archive, told, target.home, Plain()).path


def test_a_release_is_installed_where_it_is_looked_for(bundle: Path, target: Box) -> None:
    path = installation(bundle, target)

    folder = target.home.runtimes / "release-0.33.1"
    assert path == folder / "bin/ollama"
    assert installed(target.home, target.environ) == release_at(folder)
    assert path.read_text() == _SCRIPT
    assert path.stat().st_mode & 0o777 == 0o755
    libraries = folder / "lib/ollama/cuda_v13"
    assert (libraries / "libx.so").resolve() == libraries / "libx.so.1.2"
    assert (libraries / "libx.so.1").read_bytes() == b"x" * 100_000
    assert not (folder / "bin/other").exists()
    assert json.loads((folder / "runtime.json").read_text())["version"] == "0.33.1"
    assert releases(target.home).current == folder.name
    assert list(target.home.runtimes.glob(".*")) == []


def test_a_killed_installation_is_begun_anew(bundle: Path, target: Box) -> None:
    left = target.home.runtimes / ".installing-x"
    left.mkdir(parents=True)
    installation(bundle, target)
    assert not left.exists()


def test_a_damaged_file_of_a_runtime_is_not_installed(bundle: Path, target: Box) -> None:
    raw = bundle.read_bytes()
    bundle.write_bytes(raw.replace(b"x" * 100, b"y" + b"x" * 99, 1))
    with pytest.raises(SourceCorrupt, match="runtime/lib"):
        installation(bundle, target)
    assert [p.name for p in target.home.runtimes.iterdir()] == []


def test_a_runtime_for_another_box_is_refused_before_anything_moves(
    bundle: Path, target: Box, tmp_path: Path
) -> None:
    told = peek(bundle).runtime
    assert told is not None
    other = replace(told, platform="Linux-riscv64")
    fields = ("kind", "version", "platform", "links")
    document = {key: getattr(other, key) for key in fields}
    file = rewritten(bundle, tmp_path / "x.tar", runtime=document)
    with pytest.raises(PullFailed, match="riscv64"):
        load(file, target.home, target.environ, Plain())
    assert not target.models.exists()
    assert not target.home.runtimes.exists()


@pytest.mark.parametrize(
    ("path", "target_name"),
    [("../x", "ollama"), ("bin/x", "../../../etc/passwd"), ("bin/x", "absent"),
     ("bin/ollama", "ollama"), ("BIN/ollama", "ollama"), ("bin/x", "..")],
)  # fmt: skip
def test_a_link_that_leads_elsewhere_is_refused(
    bundle: Path, tmp_path: Path, path: str, target_name: str
) -> None:
    told = peek(bundle).to_json()["runtime"] | {"links": {path: target_name}}
    with pytest.raises(InvalidInput, match="links"):
        peek(rewritten(bundle, tmp_path / "x.tar", runtime=told))


def test_a_program_that_does_not_serve_is_told_after_the_models_are_there(
    bundle: Path, target: Box
) -> None:
    with pytest.raises(ServerUnreachable):
        load(bundle, target.home, target.environ, Plain())
    assert set(target.store.names()) == {NAME}


def test_a_box_without_a_program_has_none_to_bundle(source: Box) -> None:
    file = source.folder / "none.tar"
    with pytest.raises(InvalidInput, match="no Ollama on this box"):
        create((NAME,), file, source.home, source.environ, Plain(), with_runtime=True)
