"""What is not let through to a server: files that are cut, damaged, incomplete, of other kinds."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput, SourceCorrupt
from orchestrator.importing import LocalFile
from orchestrator.importing.check_safetensors import Checked, check
from tests.importing.imported import imported, local_file, local_files
from tests.real.safetensors import LLAMA, QWEN2, write_repository, write_shard
from tests.real.server import RealServer

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
Change = Callable[[Path], object]
_HERE = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


def array(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)


def write(folder: Path, *, kind: str = "BF16", **config: object) -> Path:
    """Write the smallest repository that has all that one can have: two shards and their index."""
    folder.mkdir()
    shards = {FIRST: {"a": array(2, 3), "b": array(4)}, SECOND: {"c": array(5, 2)}}
    for name, tensors in shards.items():
        write_shard(folder / name, tensors, kind)
    places = {tensor: name for name, held in shards.items() for tensor in held}
    put(folder / INDEX, {"weight_map": places})
    put(folder / "config.json", {"architectures": [QWEN2]} | config)
    put(folder / "tokenizer.json", {"model": {"vocab": {"a": 0}}})
    put(folder / "tokenizer_config.json", {"eos_token": "a"})
    return folder


def put(path: Path, document: object) -> None:
    path.write_text(json.dumps(document))


def found(folder: Path) -> Checked:
    return check(local_files(folder))


def edit(name: str, change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the header of a shard and nothing else of it."""

    def edited(folder: Path) -> None:
        data = (folder / name).read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return edited


def without(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def grown(by: int, **places: list[int]) -> Change:
    """Put the tensors of the first shard elsewhere, in a file that is so many bytes longer."""

    def changed(folder: Path) -> None:
        for name, offsets in places.items():
            tensor(name, data_offsets=offsets)(folder)
        data = (folder / FIRST).read_bytes()
        (folder / FIRST).write_bytes(data[:by] if by < 0 else data + bytes(by))

    return changed


def tensor(name: str, **changes: object) -> Change:
    return edit(FIRST, lambda header: header[name].update(changes))


def test_whole_files_are_described(tmp_path: Path) -> None:
    assert found(write(tmp_path / "x")) == Checked(
        class_name=QWEN2,
        dtypes=("BF16",),
        tensor_count=3,
        elements=20,
        tensor_bytes=40,
        weight_files=(FIRST, SECOND),
    )


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("architecture", [QWEN2, LLAMA])
def test_repositories_as_the_hub_has_them_pass(
    tmp_path: Path, architecture: str, shards: int
) -> None:
    folder = write_repository(tmp_path / "x", architecture=architecture, shards=shards, layers=1)
    described = found(folder)
    assert described.class_name == architecture
    assert len(described.weight_files) == shards


def test_a_sentencepiece_model_is_a_tokenizer_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "x")
    without("tokenizer.json")(folder)
    (folder / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    assert found(folder).tensor_count == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (holding(FIRST, b"<!DOCTYPE html><title>Log in</title>"), "header of"),
        (holding(FIRST, b""), "header of 0 bytes"),
        (holding(FIRST, struct.pack("<Q", 2**62) + bytes(64)), "header of 4611686018427387904"),
        (holding(FIRST, struct.pack("<Q", 64) + b"[" * 64), "no whole safetensors file"),
        (holding(FIRST, struct.pack("<Q", 2) + b"[]"), "no object"),
        (tensor("a", data_offsets=[0]), "not described"),
        (tensor("a", data_offsets=[0, 12, 12]), "no whole numbers"),
        (tensor("a", data_offsets=[0, True]), "no whole numbers"),
        (tensor("a", data_offsets=[0.0, 12]), "no whole numbers"),
        (tensor("a", shape=[2, 4]), "of its shape are 16"),
        (tensor("a", shape="23"), "no whole numbers"),
        (tensor("a", shape=[-2, -3]), "ends at byte"),
        (tensor("a", dtype=None), "no element type"),
        (tensor("b", shape=[2], data_offsets=[12, 16]), "gap or overlap"),
        (tensor("b", data_offsets=[4, 12]), "gap or overlap"),
        (tensor("a", data_offsets=[4, 16]), "gap or overlap"),
        (grown(-4, b=[8, 16]), "gap or overlap"),
        (grown(4, b=[16, 24], a=[4, 16]), "gap or overlap"),
        (grown(4), "gap or overlap"),
        (edit(FIRST, lambda h: h.update(__metadata__={"dtype": "x"})), "look like a tensor"),
        (edit(FIRST, lambda h: h.update(__metadata__={"total": 1})), "no texts"),
        (edit(FIRST, lambda h: h.pop("b")), "gap or overlap"),
        (edit(FIRST, lambda h: h.update(x=h.pop("b"))), f"{INDEX} says {FIRST}, the files say"),
        (edit(SECOND, lambda h: h.update(a=h.pop("c"))), f"is in {FIRST} and in {SECOND}"),
        (without(SECOND), f"1 of 2 weight files are missing, first {SECOND}"),
        (lambda f: (without(SECOND)(f), without(INDEX)(f)), "1 of 2 weight files are missing"),
        (holding(INDEX, json.dumps({"weight_map": {"a": FIRST, "c": SECOND}}).encode()),
            f"tensor b: {INDEX} says nothing of it, the files say {FIRST}"),
        (holding(INDEX, b'{"weight_map": {"a": 1}}'), "no weight_map"),
        (holding(INDEX, b"{}"), "no weight_map"),
        (holding(INDEX, b'{"weight_map": {"a": "other.safetensors"}}'), "first other"),
        (holding("config.json", b"<html>"), "config.json is no JSON"),
        (holding("config.json", b"[]"), "no object"),
        (holding("config.json", b"[" * 100_000), "config.json is no JSON"),
        (holding("tokenizer.json", b"<html>"), "tokenizer.json is no JSON"),
        (holding("tokenizer.json", b"{}"), "no vocabulary"),
        (holding("tokenizer.json", b'{"model": {"vocab": {}}}'), "no vocabulary"),
        (holding("tokenizer.model", b"<html>"), "no sentencepiece model"),
        (holding("tokenizer.model", b"\x0a\x0e"), "no sentencepiece model"),
        (holding("tokenizer_config.json", b"\xff\xfe"), "tokenizer_config.json is no JSON"),
    ],
)  # fmt: skip
def test_damage_is_told_with_what_and_where(tmp_path: Path, change: Change, said: str) -> None:
    folder = write(tmp_path / "x")
    change(folder)
    with pytest.raises(SourceCorrupt) as caught:
        found(folder)
    assert said in caught.value.what
    assert "again" in caught.value.hint or "another" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "said", "hint"),
    [
        (tensor("a", dtype="F8_E4M3"), "1 of 2 tensors are F8_E4M3", "GGUF repository"),
        (tensor("a", dtype="I32"), "tensors are I32", "GGUF repository"),
        (tensor("a", shape=[], data_offsets=[0, 2]), "has no elements", "GGUF repository"),
        (tensor("a", shape=[0], data_offsets=[0, 0]), "has no elements", "GGUF repository"),
        (without("config.json"), "no config.json", "another"),
        (holding("config.json", b"{}"), "names no architecture", "another"),
        (holding("config.json", b'{"architectures": []}'), "names no architecture", "another"),
        (holding("config.json",
            b'{"architectures": ["x"], "quantization_config": {"quant_method": "awq"}}'),
            "quantized as awq", "GGUF repository"),
        (without("tokenizer.json"), "neither tokenizer.json nor tokenizer.model", "another"),
        (lambda f: [without(n)(f) for n in (FIRST, SECOND)], "no safetensors", "another"),
        (lambda f: (without(INDEX)(f), (f / FIRST).rename(f / "x.safetensors"),
            (f / SECOND).rename(f / "y.safetensors")), f"and no {INDEX}", "another"),
    ],
)  # fmt: skip
def test_what_no_download_mends_is_refused_as_what_it_is(
    tmp_path: Path, change: Change, said: str, hint: str
) -> None:
    folder = write(tmp_path / "x")
    change(folder)
    with pytest.raises(InvalidInput) as caught:
        found(folder)
    assert said in caught.value.what
    assert hint in caught.value.hint


def test_a_file_of_another_size_than_announced_is_damaged(tmp_path: Path) -> None:
    files = local_files(write(tmp_path / "x"))
    announced = [
        LocalFile(name=f.name, path=f.path, size_bytes=f.size_bytes + 1, digest=f.digest)
        for f in files
    ]
    with pytest.raises(SourceCorrupt, match=r"has \d+ of \d+ bytes"):
        check(announced)


def test_weights_in_a_folder_are_none_of_the_server_s(tmp_path: Path) -> None:
    folder = write(tmp_path / "x")
    stray = local_file(folder / FIRST)
    inner = LocalFile(
        name=f"original/{FIRST}", path=stray.path, size_bytes=stray.size_bytes, digest=stray.digest
    )
    assert check([*local_files(folder), inner]).weight_files == (FIRST, SECOND)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A repository, and its first shard as it is when whole; its header says nothing twice."""
    folder = write(tmp_path_factory.mktemp("bits") / "x")
    edit(FIRST, lambda header: header.pop("__metadata__"))(folder)
    return folder, (folder / FIRST).read_bytes()


@given(data=st.data())
@_HERE
def test_no_bit_of_a_header_can_turn_unseen(data: st.DataObject, shard: tuple[Path, bytes]) -> None:
    folder, whole = shard
    header_bytes = 8 + int.from_bytes(whole[:8], "little")
    at, bit = data.draw(st.integers(0, header_bytes - 1)), data.draw(st.integers(0, 7))
    turned = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
    (folder / FIRST).write_bytes(turned)
    with pytest.raises((SourceCorrupt, InvalidInput)):
        found(folder)


@given(data=st.data())
@_HERE
def test_no_cut_and_no_tail_passes(data: st.DataObject, shard: tuple[Path, bytes]) -> None:
    folder, whole = shard
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    other = data.draw(st.sampled_from([cut, whole + b"\0", cut + bytes(len(whole) - len(cut) + 1)]))
    (folder / FIRST).write_bytes(other)
    with pytest.raises(SourceCorrupt):
        found(folder)


@given(junk=st.binary(max_size=200))
@_HERE
def test_junk_never_passes(junk: bytes, shard: tuple[Path, bytes]) -> None:
    folder, whole = shard
    for content in (junk, struct.pack("<Q", len(junk)) + junk, whole[:8] + junk):
        (folder / FIRST).write_bytes(content)
        with pytest.raises((SourceCorrupt, InvalidInput)):
            found(folder)


def test_what_passes_makes_a_model_that_answers(server: RealServer, tmp_path: Path) -> None:
    """The other half of the promise: the check is not so strict that nothing would be left."""
    folder = write_repository(tmp_path / "x", shards=3, layers=1, width=128, inner=256)
    assert found(folder).tensor_count > 3
    imported(server, folder, quantization="F16")
    assert server.client().show("hub/tiny:q").capabilities
