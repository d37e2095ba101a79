"""Files on disk: whole, in parts, cut, and what only looks like one."""

import os
from pathlib import Path

import pytest

from orchestrator.errors import InvalidInput
from orchestrator.gguf.types import Tensor
from orchestrator.source.gguf_file import in_file
from tests.shapes import TINY
from tests.source.files import gguf_header, keys_of, write_gguf, write_parts


def test_a_cut_file_is_told_with_its_name_and_both_numbers(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf")
    whole = path.stat().st_size
    os.truncate(path, 100_000)
    with pytest.raises(InvalidInput, match=rf"a\.gguf: it has 100000 bytes.* byte {whole}"):
        in_file(path)


def test_any_part_stands_for_all_that_lie_beside_it(tmp_path: Path) -> None:
    whole = in_file(write_gguf(tmp_path / "whole.gguf"))
    for path in write_parts(tmp_path, "b", 3):
        found = in_file(path)
        assert found.candidate.tag == "b.gguf"
        assert found.candidate.weights == whole.candidate.weights
        assert "in 3 files" in found.notes[0]
    assert whole.notes == ()


def test_a_part_alone_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    _, *others = write_parts(tmp_path, "b", 3)
    others[0].unlink()
    with pytest.raises(InvalidInput, match=r"1 are not beside it, first b-00002-of-00003") as e:
        in_file(others[1])
    assert "llama-gguf-split --merge" in e.value.hint


def test_a_part_under_another_name_is_refused(tmp_path: Path) -> None:
    first, *_ = write_parts(tmp_path, "b", 3)
    renamed = first.rename(tmp_path / "model.gguf")
    with pytest.raises(InvalidInput, match=r"model\.gguf: part of 3 files, given 1"):
        in_file(renamed)


def test_parts_that_are_mixed_up_are_refused(tmp_path: Path) -> None:
    first, second = write_parts(tmp_path, "b", 2)
    first.rename(tmp_path / "x")
    second.rename(first)
    (tmp_path / "x").rename(second)
    with pytest.raises(InvalidInput, match="header says part 1, counted from 0, its name 0"):
        in_file(first)


@pytest.mark.parametrize("name", ["a-00004-of-00003.gguf", "a-00000-of-00003.gguf",
                                  "a-00001-of-99999.gguf"])  # fmt: skip
def test_a_number_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"part \d+ of \d+, where 1 to 1024 can be"):
        in_file(write_gguf(tmp_path / name))


def test_a_shape_beyond_the_file_is_refused(tmp_path: Path) -> None:
    """A hostile table costs nothing: its tensors must lie in the file."""
    path = write_gguf(tmp_path / "a.gguf")
    data = path.read_bytes()
    wide = (TINY.embedding_length).to_bytes(8, "little") + (TINY.vocab_size).to_bytes(8, "little")
    path.write_bytes(data.replace(wide, b"\xff" * 7 + b"\x7f" + wide[8:], 1))
    with pytest.raises(InvalidInput, match=r"of 9223372036854775807 x .* which no file can hold"):
        in_file(path)


def test_a_file_without_tensors_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_header(keys_of(TINY, "F16"), [])[0])
    with pytest.raises(InvalidInput, match=r"a\.gguf: it has no tensors") as caught:
        in_file(path)
    assert "fetch it again" in caught.value.hint


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.gguf"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(InvalidInput, match="not a file"):
        in_file(path)


def test_keys_of_another_kind_of_model_are_told_with_the_file(tmp_path: Path) -> None:
    keys = keys_of(TINY, "F16")
    del keys["qwen2.context_length"]
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_header(keys, [Tensor(name="x", type="F32", shape=(8,))])[0] + bytes(64))
    with pytest.raises(InvalidInput, match=r"a\.gguf: the header .* has no context_length"):
        in_file(path)
