"""Bundles between two stores on disk."""

import fcntl
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import validate

from orchestrator.bundle.archive import opened, peek
from orchestrator.bundle.create import Created, create
from orchestrator.bundle.load import load
from orchestrator.cli.terminal import Plain
from orchestrator.errors import (
    Busy,
    InvalidInput,
    MachineElsewhere,
    ModelUnavailable,
    ServerUnreachable,
    SourceCorrupt,
)
from orchestrator.lock import only_one
from orchestrator.schema import load as schema
from tests.bundle.conftest import NAME, OTHER, UID, Box, put, rewritten
from tests.conftest import RunDeploy


def made(source: Box, *names: str, force: bool = False) -> Created:
    file = source.folder / "b.tar"
    return create(names or (NAME, OTHER), file, source.home, source.environ, Plain(), force=force)


def test_what_was_bundled_is_in_the_other_store_byte_for_byte(source: Box, target: Box) -> None:
    done = made(source)

    found = load(done.file, target.home, target.environ, Plain())

    assert target.files == source.files
    for name in source.files:
        assert (target.models / name).read_bytes() == (source.models / name).read_bytes()
        assert (target.models / name).stat().st_mode & 0o777 == 0o644
    assert all(
        p.stat().st_mode & 0o777 == 0o755
        for p in [target.models, *target.models.rglob("*")]
        if p.is_dir()
    )
    assert [m.digest for m in found.models] == [
        source.store.names()[n].digest for n in (NAME, OTHER)
    ]
    assert (found.way, found.answers, found.started) == ("store", False, False)


def test_an_admin_can_check_it_by_hand(source: Box, tmp_path: Path) -> None:
    done, out = made(source), tmp_path / "out"
    out.mkdir()

    subprocess.run(["tar", "xf", done.file, "-C", out], check=True)
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=out, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr
    listed = {line.partition("  ")[2] for line in (out / "SHA256SUMS").read_text().splitlines()}
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert files == listed | {"SHA256SUMS"}


def test_the_order_is_fixed_and_each_blob_is_there_once(source: Box) -> None:
    with tarfile.open(made(source).file) as archive:
        names = archive.getnames()
    assert names[0] == "deploy-bundle.json"
    kinds = [name.partition("/")[0] for name in names[1:]]
    assert kinds == ["manifests"] * 2 + ["licences"] + ["SHA256SUMS"] + ["blobs"] * 6
    assert len(set(names)) == len(names)


def test_the_documents_are_those_of_the_schemas(source: Box, target: Box) -> None:
    done = made(source)
    validate(done.to_json(), schema("bundle"))
    validate(load(done.file, target.home, target.environ, Plain()).to_json(), schema("bundle-load"))
    entry = peek(done.file).models[0].catalogue
    assert entry is not None
    assert entry["license"] == "Apache-2.0"
    assert peek(done.file).models[0].licences == ("Apache License",)


def test_a_second_load_writes_nothing_and_hashes_all(source: Box, target: Box) -> None:
    done = made(source)
    load(done.file, target.home, target.environ, Plain())
    before = {name: (target.models / name).stat().st_mtime_ns for name in target.files}

    again = load(done.file, target.home, target.environ, Plain())

    assert [m.written_bytes for m in again.models] == [0, 0]
    assert again.models[0].checked_bytes == done.index.models[0].size_bytes
    assert {n: (target.models / n).stat().st_mtime_ns for n in target.files} == before


def test_a_damaged_blob_of_the_store_is_replaced(source: Box, target: Box) -> None:
    done = made(source)
    load(done.file, target.home, target.environ, Plain())
    blob = target.store.blob(done.index.models[0].layers[0].digest)
    blob.write_bytes(b"x" * blob.stat().st_size)

    again = load(done.file, target.home, target.environ, Plain())

    assert again.models[0].written_bytes == blob.stat().st_size
    assert blob.read_bytes() == b"w" * 3_000_000


def test_a_name_that_is_another_model_is_kept_unless_forced(source: Box, target: Box) -> None:
    done = made(source)
    mine = put(target.models, NAME, b"mine")
    before = target.files

    with pytest.raises(InvalidInput, match="another model here") as caught:
        load(done.file, target.home, target.environ, Plain())
    assert "--force" in caught.value.hint
    assert target.files == before
    assert target.store.names()[NAME].digest == mine

    load(done.file, target.home, target.environ, Plain(), force=True)
    assert target.store.names()[NAME].digest == source.store.names()[NAME].digest


@pytest.mark.parametrize("place", [0, 1_500_000, 2_999_999])
def test_one_flipped_byte_is_found_and_nothing_of_that_model_appears(
    source: Box, target: Box, place: int
) -> None:
    done = made(source, NAME)
    with opened(done.file) as archive:
        blob = archive.blob(archive.index.models[0].layers[0])
    with tarfile.open(done.file) as tar:
        at = tar.getmember(blob.path).offset_data + place
    raw = bytearray(done.file.read_bytes())
    raw[at] ^= 1
    done.file.write_bytes(raw)

    with pytest.raises(SourceCorrupt, match=blob.path):
        load(done.file, target.home, target.environ, Plain())

    assert target.store.names() == {}
    assert not target.store.blob(f"sha256:{blob.sha256}").exists()
    assert target.store.staged() == []


@pytest.mark.parametrize("share", [0.0005, 0.5, 0.95])
def test_one_that_is_cut_off_is_refused_before_anything_is_written(
    source: Box, target: Box, share: float
) -> None:
    done = made(source)
    os.truncate(done.file, int(done.size_bytes * share))

    with pytest.raises(SourceCorrupt, match="cut off"):
        load(done.file, target.home, target.environ, Plain())

    assert not target.models.exists()


def test_a_store_of_another_user_gets_files_of_that_user(source: Box, target: Box) -> None:
    """Root loads for a service: its server must read them, replace them, remove them."""
    target.models.mkdir()
    os.chown(target.models, UID, UID)

    load(made(source).file, target.home, target.environ, Plain())

    everything = [target.models, *target.models.rglob("*")]
    assert {(p.stat().st_uid, p.stat().st_gid) for p in everything} == {(UID, UID)}


def test_a_blob_that_is_damaged_is_named_with_what_mends_it(source: Box) -> None:
    blob = source.store.blob(source.store.names()[NAME].layers[0].digest)
    blob.write_bytes(b"x" * 3_000_000)

    with pytest.raises(SourceCorrupt, match=blob.name) as caught:
        made(source)

    assert f"deploy pull {NAME}" in caught.value.hint
    assert list(source.folder.glob("b.tar*")) == []


@pytest.mark.parametrize("how", ["missing", "short"])
def test_a_blob_that_is_not_there_is_named_at_once(source: Box, how: str) -> None:
    blob = source.store.blob(source.store.names()[OTHER].layers[0].digest)
    blob.unlink() if how == "missing" else blob.write_bytes(b"x")

    with pytest.raises(SourceCorrupt, match=f"{OTHER}.*{blob.name}"):
        made(source)

    assert list(source.folder.glob("b.tar*")) == []


def test_an_existing_file_is_kept_unless_forced(source: Box) -> None:
    made(source, OTHER)
    before = (source.folder / "b.tar").read_bytes()
    with pytest.raises(InvalidInput, match="exists"):
        made(source, NAME)
    assert (source.folder / "b.tar").read_bytes() == before
    assert made(source, NAME, force=True).index.models[0].name == NAME


def test_a_name_in_another_case_or_twice_is_one_model(source: Box) -> None:
    done = made(source, NAME.upper(), f"registry.ollama.ai/library/{NAME}", NAME)
    assert [m.name for m in done.index.models] == [NAME]


def test_a_model_that_is_absent_is_to_be_pulled(source: Box) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        made(source, "qwen3:8b")
    assert "deploy pull qwen3:8b" in caught.value.hint


def test_an_alias_and_a_derived_model_are_models_too(source: Box, target: Box) -> None:
    source.store.point("deploy-current", NAME)
    source.store.point("deploy/qwen:ctx4096", NAME)

    load(
        made(source, "deploy-current", "deploy/qwen:ctx4096").file,
        target.home,
        target.environ,
        Plain(),
    )

    assert set(target.store.names()) == {"deploy-current:latest", "deploy/qwen:ctx4096"}


def test_a_name_too_long_for_an_archive_is_refused(source: Box) -> None:
    name = f"{'h' * 200}.example/team/x:y"
    put(source.models, name, b"long")
    with pytest.raises(InvalidInput, match="too long"):
        made(source, name)
    assert list(source.folder.glob("b.tar*")) == []


def test_another_machine_s_server_has_no_store_here(source: Box) -> None:
    env = {**source.environ, "OLLAMA_HOST": "192.0.2.1:11434"}
    with pytest.raises((ServerUnreachable, MachineElsewhere)):
        create((NAME,), source.folder / "b.tar", source.home, env, Plain())


def test_two_creates_of_one_file_do_not_mix(source: Box) -> None:
    with (source.folder / "b.tar.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            made(source)


def test_a_newer_bundle_says_so(source: Box, tmp_path: Path) -> None:
    file = rewritten(made(source).file, tmp_path / "newer.tar", schema=2)
    with pytest.raises(InvalidInput, match="newer deploy"):
        peek(file)


def test_a_load_beside_another_run_is_told_to_wait(
    source: Box, target: Box, run_deploy: RunDeploy
) -> None:
    file = made(source).file
    with only_one(target.home, target.environ, "auto"):
        done = run_deploy("bundle", "load", file, env=target.env)
    assert done.returncode == 75
    assert "deploy auto" in done.stderr
    assert run_deploy("bundle", "load", file, env=target.env).returncode == 0


def test_what_another_writes_at_this_moment_is_not_taken_for_a_leftover(
    source: Box, target: Box
) -> None:
    file = made(source).file
    load(file, target.home, target.environ, Plain())
    left = target.models / "deploy-staged-left"
    left.write_bytes(b"of a killed one")
    seen: list[int] = []

    def chunks() -> Iterator[bytes]:
        yield b"x"
        target.store.remove_staged()
        seen.append(len(target.store.staged()))
        yield b"y"

    target.store.receive(f"sha256:{'0' * 64}", chunks())

    assert seen == [1]
    assert target.store.blob(f"sha256:{'0' * 64}").read_bytes() == b"xy"
    assert not left.exists()
