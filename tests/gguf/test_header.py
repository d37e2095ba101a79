"""Headers are read within bounds: real files whole, hostile ones with one clear error."""

import io
import struct
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput
from orchestrator.gguf.facts import candidate_of
from orchestrator.gguf.header import LIMIT_BYTES, ArrayLength, Header, read
from orchestrator.gguf.layout import layout
from orchestrator.gguf.types import Tensor
from tests.shapes import TINY
from tests.source.files import gguf_header, keys_of

HUGE = 2**63
# The key that decides where data begins, as a u64: what follows is its value.
ALIGNMENT = struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<I", 10)


def number(value: int) -> bytes:
    return struct.pack("<Q", value)


def kind(value: int) -> bytes:
    return struct.pack("<I", value)


def text(value: str) -> bytes:
    return number(len(value)) + value.encode()


def head(*, tensors: int = 0, keys: int = 0, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    return magic + kind(version) + number(tensors) + number(keys)


def of(data: bytes) -> Header:
    return read(io.BytesIO(data))


def write(path: Path, fill: Callable[[Any], None]) -> Path:
    writer = gguf.GGUFWriter(path, "qwen2")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def fill(writer: Any) -> None:
    writer.add_name("näme")
    writer.add_block_count(2)
    writer.add_rope_freq_base(1e6)
    writer.add_bool("qwen2.flag", True)
    writer.add_array("qwen2.heads", [4, 8])
    writer.add_token_list([f"token {i}" for i in range(5000)])
    writer.add_array("long", list(range(5000)))
    writer.add_tensor("token_embd.weight", np.zeros((512, 64), dtype=np.float32))
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((64, 64), dtype=np.float16))
    quantized = np.zeros((32, 34 * 2), dtype=np.uint8)
    writer.add_tensor("output.weight", quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)


def test_a_real_file_is_read_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", fill)
    with path.open("rb") as stream:
        found = read(stream)
    keys = found.metadata
    assert keys["general.architecture"] == "qwen2"
    assert (keys["general.name"], keys["qwen2.block_count"], keys["qwen2.flag"]) == (
        "näme",
        2,
        True,
    )
    assert keys["qwen2.rope.freq_base"] == pytest.approx(1e6)
    assert keys["qwen2.heads"] == [4, 8]
    assert keys["tokenizer.ggml.tokens"] == keys["long"] == ArrayLength(length=5000)
    assert found.tensors == (
        Tensor(name="token_embd.weight", type="F32", shape=(64, 512)),
        Tensor(name="blk.0.attn_q.weight", type="F16", shape=(64, 64)),
        Tensor(name="output.weight", type="Q8_0", shape=(64, 32)),
    )
    assert [t.size_bytes for t in found.tensors] == [131072, 8192, 2176]
    data = found.size_bytes + sum(t.size_bytes for t in found.tensors)
    assert data <= path.stat().st_size <= data + 32 * 4  # alignment


def test_reading_stops_where_the_table_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", fill)
    with path.open("rb") as stream:
        assert read(stream).size_bytes == stream.tell() < path.stat().st_size


def test_the_reader_of_the_gguf_package_agrees(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", fill)
    reader = gguf.GGUFReader(path)
    with path.open("rb") as stream:
        found = read(stream)
    theirs = {(t.name, tuple(int(n) for n in t.shape), int(t.n_bytes)) for t in reader.tensors}
    assert {(t.name, t.shape, t.size_bytes) for t in found.tensors} == theirs
    assert set(found.metadata) == {k for k in reader.fields if not k.startswith("GGUF.")}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "ends at byte 0", id="empty"),
        pytest.param(b"GG", "ends at byte 0", id="shorter-than-the-magic"),
        pytest.param(head(magic=b"PK\x03\x04"), "not a GGUF file: it starts with", id="zip"),
        pytest.param(head(magic=b"FUGG"), "not a GGUF file", id="other-byte-order"),
        pytest.param(head(version=1), "GGUF version 1; versions 2 and 3", id="version-1"),
        pytest.param(head(version=0x03000000), "GGUF version 3 in big-endian", id="big-endian"),
        pytest.param(head(version=0x01000000), "version 1 in big-endian", id="big-endian-1"),
        pytest.param(head(version=9), "GGUF version 9", id="version-9"),
        pytest.param(head(keys=1) + ALIGNMENT + number(0), "general.alignment", id="alignment"),
        pytest.param(head(tensors=HUGE), f"{HUGE} tensors, more than", id="tensor-count"),
        pytest.param(head(keys=HUGE), f"{HUGE} keys, more than", id="key-count"),
        pytest.param(head(keys=65536), "the file ends", id="more-keys-than-file"),
        pytest.param(head(tensors=65536), "the file ends", id="more-tensors-than-file"),
        pytest.param(head(keys=1) + number(HUGE), "bytes in a string", id="name-of-a-key"),
        pytest.param(
            head(keys=1) + text("a") + kind(8) + number(2**21), "bytes in a string", id="string"
        ),
        pytest.param(head(keys=1) + text("a") + kind(99), "unknown value type 99", id="type"),
        pytest.param(
            head(keys=1) + text("a") + kind(9) + kind(9) + number(1), "array of type 9", id="nested"
        ),
        pytest.param(
            head(keys=1) + text("a") + kind(9) + kind(77) + number(1), "array of", id="array-of"
        ),
        pytest.param(
            head(keys=1) + text("a") + kind(9) + kind(0) + number(HUGE), "array entries", id="array"
        ),
        pytest.param(
            head(keys=1) + text("a") + kind(9) + kind(12) + number(LIMIT_BYTES),
            "longer than 64 MiB", id="array-beyond-the-limit",
        ),
        pytest.param(
            head(keys=1) + text("a") + kind(9) + kind(8) + number(2**22), "strings", id="strings"
        ),
        pytest.param(
            head(keys=1) + text("a") + kind(9) + kind(8) + number(2) + text("x") + number(HUGE),
            "bytes in a string", id="string-in-an-array",
        ),
        pytest.param(head(tensors=1) + text("t") + kind(9), "has 9 dimensions", id="dimensions"),
        pytest.param(head(tensors=1) + text("t") + kind(2) + number(1), "file ends", id="shape"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_one_clear_error(data: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        of(data)


def strings_of_letters() -> bytes:
    """Return 60 MB of strings: as text they take four times as much."""
    return head(keys=60) + b"".join(
        text(f"k{n}") + kind(8) + number(2**20) + b"\xff" * 2**20 for n in range(60)
    )


def lists_of_bytes() -> bytes:
    """Return 30 MB of short arrays: a list of numbers takes eight times the bytes of the file."""
    one = kind(9) + kind(0) + number(1000) + b"\xff" * 1000
    return head(keys=30_000) + b"".join(text(f"key {n:05}") + one for n in range(30_000))


def lists_and_tensors() -> bytes:
    """Return as many large numbers as may be kept, and a long table behind them."""
    one = kind(9) + kind(10) + number(1000) + b"\x7f" * 8000
    numbers = b"".join(text(f"key {n:05}") + one for n in range(1170))
    shape = kind(4) + b"\x7f" * 32
    table = b"".join(text(f"{n:05}") + shape + kind(0) + number(n) for n in range(65_000))
    return head(keys=1170, tensors=65_000) + numbers + table


@pytest.mark.parametrize("made", [strings_of_letters, lists_of_bytes, lists_and_tensors])
def test_what_is_kept_never_takes_more_memory_than_the_limit(made: Callable[[], bytes]) -> None:
    stream = io.BytesIO(made())
    tracemalloc.start()
    try:
        with suppress(InvalidInput):
            read(stream)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most <= LIMIT_BYTES


class Endless(io.RawIOBase):
    """A file without an end, as a pipe or a sparse file can be; counts what is read of it."""

    def __init__(self, start: bytes, rest: bytes) -> None:
        self.start, self.rest, self.given = io.BytesIO(start), rest, 0

    def read(self, size: int = -1, /) -> bytes:
        assert 0 <= size <= LIMIT_BYTES
        data = self.start.read(size)
        missing = size - len(data)
        data += (self.rest * (missing // len(self.rest) + 1))[:missing]
        self.given += len(data)
        return data


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(head(keys=1) + text("a") + kind(9) + kind(8) + number(2**20), id="strings"),
        pytest.param(head(keys=65536), id="keys"),
        pytest.param(head(tensors=65536), id="tensors"),
    ],
)
def test_a_file_without_an_end_costs_at_most_the_limit(start: bytes) -> None:
    stream: Any = Endless(start, number(100) + b"\x00" * 100)
    began = time.process_time()
    with pytest.raises(InvalidInput):
        read(stream)
    assert stream.given <= LIMIT_BYTES
    assert time.process_time() - began < 20


def test_a_number_stands_for_an_unknown_tensor_type() -> None:
    data = head(tensors=1) + text("t") + kind(1) + number(8) + kind(99) + number(0)
    [tensor] = of(data).tensors
    assert tensor.type == "type 99"
    with pytest.raises(InvalidInput, match="tensor t: unknown type type 99"):
        _ = tensor.size_bytes


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=300))
def test_noise_after_a_good_start_never_ends_in_another_error(noise: bytes) -> None:
    stream: BinaryIO = io.BytesIO(head(tensors=3, keys=3) + noise)
    with suppress(InvalidInput):
        read(stream)


@pytest.fixture(scope="module")
def small() -> bytes:
    """The header of a whole small model, and nothing behind it."""
    data, _ = gguf_header(keys_of(TINY, "Q4_K_M", 20), layout(TINY, "Q4_K_M"))
    return data


@settings(deadline=None, max_examples=2000)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_any_byte_changed_is_an_error_of_ours_or_another_model(
    place: float, value: int, small: bytes
) -> None:
    changed = bytearray(small)
    changed[int(place * len(small))] = value
    with suppress(InvalidInput):
        candidate_of("a.gguf", of(bytes(changed)), 10**6)


@settings(deadline=None, max_examples=200)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_header_cut_at_any_byte_is_told(place: float, small: bytes) -> None:
    whole = of(small).size_bytes
    with pytest.raises(InvalidInput, match="the file ends at byte"):
        of(small[: int(place * whole)])


def test_the_end_of_the_data_is_where_the_last_tensor_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", fill)
    with path.open("rb") as stream:
        found = read(stream)
    assert found.size_bytes < found.file_bytes <= path.stat().st_size < found.file_bytes + 32


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_told(share: float, real: bytes) -> None:
    cut = int(share * of(real).size_bytes)
    with pytest.raises(InvalidInput, match="the file ends at byte"):
        of(real[:cut])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("gguf") / "a.gguf", fill).read_bytes()
