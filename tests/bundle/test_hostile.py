"""Archives that were made to do harm: refused, and nothing lands anywhere."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.bundle.archive import peek
from orchestrator.bundle.create import create
from orchestrator.bundle.load import load
from orchestrator.cli.terminal import Plain
from orchestrator.errors import DeployError, DiskFull, InvalidInput, SourceCorrupt
from tests.bundle.conftest import NAME, OTHER, Box, Members, members, rewritten, write

BAD_PATHS = (
    "/etc/passwd", "../x", "blobs/../../x", "manifests/..", "blobs/.hid", "blobs\\x", "blobs/a\\b",
    "blobs//x", "blobs/", "blobs", "x", "licences/a\nb", "licences/ä", "licences/./x", "C:/x",
    "manifests/registry.ollama.ai/library/x/y/z", "blobs/" + "a" * 700, "licences/a b",
)  # fmt: skip


@pytest.fixture
def bundle(source: Box) -> Path:
    file = source.folder / "good.tar"
    create((NAME, OTHER), file, source.home, source.environ, Plain())
    return file


def everything(box: Box) -> set[str]:
    return {str(p.relative_to(box.folder)) for p in box.folder.rglob("*") if p.is_file()}


def refused(file: Path, target: Box, *kinds: type[DeployError], match: str | None = None) -> str:
    before = everything(target)
    with pytest.raises(kinds or (InvalidInput,), match=match) as caught:
        load(file, target.home, target.environ, Plain())
    after = {name for name in everything(target) - before if not name.endswith(".lock")}
    assert after == set()
    return str(caught.value)


def changed(bundle: Path, to: Path, change: Callable[[Any], None]) -> Path:
    """Return the bundle with an index that `change` worked on, its headers fitting to that."""
    entries = members(bundle)
    index = json.loads(entries[0][1])
    change(index)
    return rewritten(bundle, to, **index)


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_leads_elsewhere_is_refused_by_the_index(
    bundle: Path, target: Box, tmp_path: Path, path: str
) -> None:
    def change(index: Any) -> None:
        index["members"][2]["path"] = path

    refused(changed(bundle, tmp_path / "x.tar", change), target, match=r"\$\.")


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_member_that_the_index_does_not_have_is_refused(
    bundle: Path, target: Box, tmp_path: Path, path: str
) -> None:
    entries = members(bundle)
    extra = tarfile.TarInfo(path)
    extra.size = 3
    refused(write(tmp_path / "x.tar", [*entries, (extra, b"abc")], tarfile.GNU_FORMAT), target)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
     tarfile.DIRTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"L", b"K", b"x", b"g", b"V", b"Z"],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1, 5])
def test_what_is_no_plain_file_is_refused_wherever_it_stands(
    bundle: Path, target: Box, tmp_path: Path, kind: bytes, place: int
) -> None:
    raw = bytearray(bundle.read_bytes())
    entries = members(bundle)
    at = entries[place][0].offset
    raw[at + 156 : at + 157] = kind
    raw[at + 148 : at + 156] = b" " * 8
    raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
    file = tmp_path / "x.tar"
    file.write_bytes(raw)
    refused(file, target, match="no plain file|begins with")


def test_a_pax_header_that_lies_about_a_size_is_refused(
    bundle: Path, target: Box, tmp_path: Path
) -> None:
    entries = members(bundle)
    entries[5][0].pax_headers = {"size": "1", "path": "/etc/passwd"}
    refused(write(tmp_path / "x.tar", entries, tarfile.PAX_FORMAT), target, match="no plain file")


@pytest.mark.parametrize("size", [0, 1, 2**33, 2**62, 2**80])
def test_a_header_that_lies_about_a_size_is_refused(
    bundle: Path, target: Box, tmp_path: Path, size: int
) -> None:
    raw = bytearray(bundle.read_bytes())
    at = members(bundle)[5][0].offset
    raw[at + 124 : at + 136] = b"\x80" + size.to_bytes(11, "big")
    raw[at + 148 : at + 156] = b" " * 8
    raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
    file = tmp_path / "x.tar"
    file.write_bytes(raw)
    refused(file, target)


def test_an_index_that_states_huge_sizes_writes_nothing(
    bundle: Path, target: Box, tmp_path: Path
) -> None:
    def change(index: Any) -> None:
        blob = index["members"][3]
        blob["size_bytes"] += 2**50
        index["total_bytes"] += 2**50
        for model in index["models"]:
            for layer in model["layers"]:
                if layer["digest"].endswith(blob["sha256"]):
                    layer["size_bytes"] += 2**50

    file = changed(bundle, tmp_path / "x.tar", change)
    refused(file, target, InvalidInput, SourceCorrupt, DiskFull)


def lie(path: str, value: Any) -> Callable[[Any], None]:
    def change(index: Any) -> None:
        place, keys = index, path.split(".")
        for key in keys[:-1]:
            place = place[int(key) if key.isdecimal() else key]
        last = keys[-1]
        place[int(last) if last.isdecimal() else last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", 0), ("schema", "1"), ("schema", True), ("models", []), ("models", {}),
        ("models.0.name", "../../etc"), ("models.0.name", "a/b/c/d:e"), ("models.0.name", ""),
        ("models.0.name", "other:tag"), ("models.0.manifest", "manifests/a/b/c/d"),
        ("models.0.digest", "x"), ("models.0.digest", "0" * 64), ("models.0.layers", []),
        ("models.0.layers.0.digest", "sha256:../../../x"), ("models.0.layers.0.digest", "sha256:"),
        ("models.0.layers.0.digest", "sha256-" + "0" * 64),
        ("models.0.layers.0.digest", "sha256:" + "A" * 64), ("models.0.layers.0.size_bytes", -1),
        ("models.0.layers.0.size_bytes", 1.5), ("models.0.layers.0.media_type", None),
        ("members.0.size_bytes", -1), ("members.0.sha256", "0"), ("members.0.executable", 1),
        ("members", []), ("total_bytes", 1), ("runtime", []), ("runtime", {"kind": "virus"}),
        ("models.0.layers.0.media_type", "application/vnd.ollama.image.template"),
    ],
)  # fmt: skip
def test_an_index_that_cannot_be_meant_is_refused(
    bundle: Path, target: Box, tmp_path: Path, path: str, value: Any
) -> None:
    file = changed(bundle, tmp_path / "x.tar", lie(path, value))
    refused(file, target, InvalidInput, SourceCorrupt)


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("models.0.layers.0.digest", "sha256:" + "0" * 64, "no member of that size"),
        ("models.0.layers.0.size_bytes", 7, "no member of that size"),
        ("members.3.sha256", "0" * 64, "not the sha256 of its member"),
        ("models.1.name", NAME, "where the manifest"),
    ],
)
def test_a_layer_and_its_member_are_one(
    bundle: Path, tmp_path: Path, path: str, value: Any, match: str
) -> None:
    with pytest.raises(InvalidInput, match=match):
        peek(changed(bundle, tmp_path / "x.tar", lie(path, value)))


def test_what_is_wrong_is_said_with_its_json_path(bundle: Path, tmp_path: Path) -> None:
    file = changed(bundle, tmp_path / "x.tar", lie("models.0.layers.1.size_bytes", "big"))
    with pytest.raises(InvalidInput, match=r"\$\.models\[0\]\.layers\[1\]\.size_bytes"):
        peek(file)


def test_two_paths_that_differ_only_in_case_are_refused(
    bundle: Path, target: Box, tmp_path: Path
) -> None:
    def change(index: Any) -> None:
        index["members"].append(index["members"][2] | {"path": "licences/A", "size_bytes": 0})
        index["members"].append(index["members"][2] | {"path": "licences/a", "size_bytes": 0})

    refused(changed(bundle, tmp_path / "x.tar", change), target, match="only in case")


def test_members_in_another_order_are_refused(bundle: Path, target: Box, tmp_path: Path) -> None:
    entries = members(bundle)
    entries[-1], entries[-2] = entries[-2], entries[-1]
    refused(write(tmp_path / "x.tar", entries), target, match="belongs")


def test_a_member_twice_is_refused(bundle: Path, target: Box, tmp_path: Path) -> None:
    entries = members(bundle)
    refused(write(tmp_path / "x.tar", [*entries, entries[-1]]), target, match="does not announce")


def test_checksums_that_are_others_are_refused(bundle: Path, target: Box, tmp_path: Path) -> None:
    entries = members(bundle)
    place = next(n for n, (each, _) in enumerate(entries) if each.name == "SHA256SUMS")
    entries[place] = (entries[place][0], entries[place][1].replace(b"a", b"b"))
    refused(write(tmp_path / "x.tar", entries), target, match="other checksums")


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"PK\x03\x04" + bytes(600), bytes(10240), b"\xff" * 2048]
)
def test_what_is_no_bundle_is_refused(target: Box, tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(raw)
    refused(file, target)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_change_of_any_header_or_index_writes_outside_of_a_store(
    bundle: Path, target: Box, tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes of headers and of the index are changed, checksums of headers mended."""
    raw = bytearray(bundle.read_bytes())
    entries: Members = members(bundle)
    each = data.draw(st.sampled_from(entries))[0]
    start = each.offset if data.draw(st.booleans()) else entries[0][0].offset_data
    span = 512 if start == each.offset else entries[0][0].size
    at = start + data.draw(st.integers(0, span - 1))
    with_bytes = data.draw(st.binary(min_size=1, max_size=24))
    raw[at : at + len(with_bytes)] = with_bytes
    if start == each.offset:
        raw[start + 148 : start + 156] = b" " * 8
        raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + 512])
    file = tmp_path / "x.tar"
    file.write_bytes(raw)
    outside = {p for p in target.folder.rglob("*") if target.models not in p.parents}
    try:
        load(file, target.home, target.environ, Plain(), force=True)
    except (InvalidInput, SourceCorrupt):
        pass
    else:
        assert {n.partition("/")[0] for n in target.files} <= {"manifests", "blobs"}
    new = {p for p in target.folder.rglob("*") if target.models not in p.parents} - outside
    allowed = {"deploy", "state", "bundle-load.lock", "models"}
    assert {p.name for p in new} <= allowed
    assert not list(target.models.glob("deploy-staged-*"))
