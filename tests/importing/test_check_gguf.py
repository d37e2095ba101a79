"""What is not let through to a server: GGUF files that are cut, and parts that it cannot merge."""

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.era import NEWEST, ServerVersion
from orchestrator.errors import InvalidInput, SourceCorrupt
from orchestrator.importing import LocalFile
from orchestrator.importing.check_gguf import check
from tests.importing.imported import local_file

OLD = ServerVersion((0, 9, 3))
_HERE = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, *, number: int = 0, count: int = 1, tensors: int = 2, said: int = 0) -> Path:
    """Write a small file; of several parts with the keys of llama-gguf-split."""
    writer = gguf.GGUFWriter(path, "llama")
    if count > 1:
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", said or count * tensors)
    for n in range(tensors):
        writer.add_tensor(f"blk.{number}.{n}", np.ones((4, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def parts(folder: Path, count: int = 3, **more: int) -> list[LocalFile]:
    return [
        local_file(
            write(folder / f"x-{n + 1:05}-of-{count:05}.gguf", number=n, count=count, **more)
        )
        for n in range(count)
    ]


def test_a_whole_file_passes_on_any_server(tmp_path: Path) -> None:
    for version in (OLD, NEWEST):
        check([local_file(write(tmp_path / "x.gguf"))], version)


def test_all_parts_pass_on_a_server_that_merges(tmp_path: Path) -> None:
    check(parts(tmp_path), ServerVersion((0, 30, 0)))


@pytest.mark.parametrize("given_parts", [slice(0, 1), slice(0, 3)], ids=["first", "all"])
@pytest.mark.parametrize("version", [OLD, ServerVersion((0, 24, 9))], ids=str)
def test_parts_on_an_older_server_are_refused_with_the_remedy(
    tmp_path: Path, version: ServerVersion, given_parts: slice
) -> None:
    with pytest.raises(InvalidInput, match=f"one of 3 parts, and Ollama {version} ") as caught:
        check(parts(tmp_path)[given_parts], version)
    assert "llama-gguf-split --merge x-00001-of-00003.gguf x.gguf" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p[:2], "1 of 3 parts are missing, first x-00003-of-00003"),
        (lambda p: p[1:], "1 of 3 parts are missing, first x-00001-of-00003"),
        (lambda p: p[::-1], "not in their order"),
        (lambda p: [p[0], p[1], p[1]], "1 of 3 parts are missing"),
        (lambda p: [*p, p[0]], "not in their order"),
        (lambda p: [named(x, x.name.replace("x-", "")) for x in p], "its name does not say so"),
        (lambda p: [named(p[n], p[m].name) for n, m in ((1, 0), (0, 1), (2, 2))], "header says"),
        (lambda _: [], "no GGUF"),
    ],
)  # fmt: skip
def test_parts_must_be_all_there_in_order(
    tmp_path: Path, change: Callable[[list[LocalFile]], list[LocalFile]], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        check(change(parts(tmp_path)), NEWEST)


def named(file: LocalFile, name: str) -> LocalFile:
    return LocalFile(name=name, path=file.path, size_bytes=file.size_bytes, digest=file.digest)


def test_two_whole_files_are_not_one_model(tmp_path: Path) -> None:
    files = [local_file(write(tmp_path / f"{name}.gguf")) for name in "xy"]
    with pytest.raises(InvalidInput, match="part of 1 files, given 2"):
        check(files, NEWEST)


def test_tensors_that_no_part_has_are_missed(tmp_path: Path) -> None:
    with pytest.raises(SourceCorrupt, match="has 9 tensors, its parts have 6"):
        check(parts(tmp_path, said=9), NEWEST)


def test_a_file_of_metadata_alone_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no tensors"):
        check([local_file(write(tmp_path / "x.gguf", tensors=0))], OLD)


def test_a_cut_file_is_told_with_both_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf")
    size = path.stat().st_size
    os.truncate(path, size - 1)
    with pytest.raises(SourceCorrupt, match=f"x.gguf is cut: {size - 1} of at least {size} bytes"):
        check([local_file(path)], OLD)


def test_a_hole_where_weights_should_be_is_told_with_both_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf")
    written, size = path.stat().st_size, 2**20
    os.truncate(path, size)
    with pytest.raises(SourceCorrupt, match=rf"sparse: \d+ of {size} bytes were written"):
        check([local_file(path)], OLD)
    path.write_bytes(path.read_bytes()[:written] + bytes(size - written))
    check([local_file(path)], OLD)  # zeros that somebody wrote are no hole


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"<!DOCTYPE html><title>Log in</title>", InvalidInput, "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(64), InvalidInput, "GGUF version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(64), InvalidInput, "big-endian"),
        (b"GGUF" + struct.pack("<I", 3) + b"\xff" * 64, SourceCorrupt, "GGUF header"),
        (b"", SourceCorrupt, "the file ends at byte 0"),
        (b"GG", SourceCorrupt, "the file ends at byte 0"),
    ],
)
def test_what_it_is_and_what_became_of_it_are_told_apart(
    tmp_path: Path, content: bytes, kind: type[Exception], said: str
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(kind, match=f"x.gguf: .*{said}"):
        check([local_file(path)], OLD)


def test_a_file_that_went_away_or_grew_is_damaged(tmp_path: Path) -> None:
    file = local_file(write(tmp_path / "x.gguf"))
    with file.path.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(SourceCorrupt, match=f"has {file.size_bytes + 4} of {file.size_bytes}"):
        check([file], OLD)
    file.path.unlink()
    with pytest.raises(SourceCorrupt, match=r"cannot read .*x\.gguf"):
        check([file], OLD)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = write(tmp_path_factory.mktemp("bits") / "x.gguf")
    return path, path.read_bytes()


@given(data=st.data())
@_HERE
def test_no_cut_passes(data: st.DataObject, whole: tuple[Path, bytes]) -> None:
    path, content = whole
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(SourceCorrupt):
        check([local_file(path)], OLD)


@given(data=st.data())
@_HERE
def test_a_turned_bit_raises_nothing_else(data: st.DataObject, whole: tuple[Path, bytes]) -> None:
    path, content = whole
    at, bit = data.draw(st.integers(0, 300)), data.draw(st.integers(0, 7))
    path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
    for version in (OLD, NEWEST):
        with suppress(SourceCorrupt, InvalidInput):
            check([local_file(path)], version)
