"""The file: exactly the layout, read back as the shape it was made of, and it loads."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gguf
import pytest

from orchestrator.errors import InvalidInput
from orchestrator.gguf import header
from orchestrator.gguf.facts import architecture
from orchestrator.gguf.layout import layout
from orchestrator.model import Architecture
from orchestrator.standin import StandIn, refuse
from tests.standin.shapes import LLAMA, MIXTURE, QWEN2, QWEN3, SPLIT, TIED, UNSPLIT

_SPEAK = Path(__file__).with_name("speak.py")
SHAPES = [
    pytest.param(QWEN2, "Q4_K_M", id="qwen2-q4_k_m"),
    pytest.param(TIED, "Q8_0", id="qwen2-tied-q8_0"),
    pytest.param(LLAMA, "Q4_0", id="llama-q4_0"),
    pytest.param(QWEN3, "Q3_K_M", id="qwen3-q3_k_m"),
    pytest.param(MIXTURE, "Q4_K_M", id="qwen3moe-q4_k_m"),
    pytest.param(UNSPLIT, "Q4_K_M", id="deepseek2-unsplit"),
    pytest.param(SPLIT, "Q2_K", id="deepseek2-split"),
]
PLAIN = [
    pytest.param(QWEN2, quantization, id=f"qwen2-{quantization.lower()}")
    for quantization in ("Q5_K_M", "Q6_K", "Q5_0", "Q5_1", "Q4_1", "F16", "BF16", "F32")
]


@pytest.mark.parametrize(("shape", "quantization"), [*SHAPES, *PLAIN])
def test_the_file_is_the_layout_to_the_byte_and_its_header_the_shape(
    tmp_path: Path, shape: Architecture, quantization: str
) -> None:
    path, standin = tmp_path / "standin.gguf", StandIn(shape=shape, quantization=quantization)
    written = standin.write(path)
    with path.open("rb") as file:
        found = header.read(file)
    assert found.tensors == layout(shape, quantization) == standin.tensors
    assert architecture(found.metadata, found.tensors) == shape
    assert found.metadata["general.architecture"] == shape.name
    assert gguf.GGUFReader(path).data_offset == path.stat().st_size - standin.tensor_bytes
    assert written.file_bytes == path.stat().st_size <= standin.needed_bytes
    assert written.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(("shape", "quantization"), SHAPES)
def test_a_current_llama_cpp_loads_it_and_it_speaks_on_without_repeating_itself(
    tmp_path: Path, shape: Architecture, quantization: str
) -> None:
    path = tmp_path / "standin.gguf"
    StandIn(shape=shape, quantization=quantization).write(path)
    found = subprocess.run(
        [sys.executable, _SPEAK, path], capture_output=True, text=True, timeout=100, check=False
    )
    assert found.returncode == 0, found.stderr[-2000:]
    said = json.loads(found.stdout)
    assert said["usage"]["completion_tokens"] == 48
    words = said["choices"][0]["text"].split()
    assert max(words.count(word) for word in words) < 30


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        pytest.param(QWEN2, "output.weight", id="own-output"),
        pytest.param(TIED, "token_embd.weight", id="tied"),
    ],
)
def test_an_end_of_text_is_never_likely_its_row_is_zero(
    tmp_path: Path, shape: Architecture, name: str
) -> None:
    StandIn(shape=shape, quantization="Q4_K_M").write(tmp_path / "a")
    [matrix] = [t for t in gguf.GGUFReader(tmp_path / "a").tensors if t.name == name]
    assert matrix.data.shape[0] == shape.vocab_size
    assert not matrix.data[-2:].any()
    assert matrix.data[:-2].any(axis=1).all()


def test_the_same_stand_in_is_written_twice_to_the_byte(tmp_path: Path) -> None:
    standin = StandIn(shape=QWEN2, quantization="Q4_K_M")
    assert standin.write(tmp_path / "a") == standin.write(tmp_path / "b")


def test_what_is_reported_rises_to_the_whole(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    written = StandIn(shape=QWEN2, quantization="F32").write(
        tmp_path / "a", lambda done, total: seen.append((done, total))
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {written.file_bytes}
    assert seen[-1][0] == written.file_bytes


def test_memory_stays_below_200_mb_whatever_the_size_of_a_tensor(tmp_path: Path) -> None:
    """An embedding and an output matrix of 311 MB each, and a tokenizer of true size."""
    program = f"""
from dataclasses import replace
from pathlib import Path
from orchestrator.standin import StandIn
from tests.standin.shapes import QWEN2
shape = replace(QWEN2, vocab_size=151936, embedding_length=1024)
StandIn(shape=shape, quantization="F16").write(Path({str(tmp_path / "large")!r}))
status = Path("/proc/self/status").read_text()
print(status.split("VmHWM:")[1].split()[0])
"""
    peak = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (tmp_path / "large").stat().st_size > 600_000_000
    (tmp_path / "large").unlink()
    assert int(peak.stdout) * 1024 < 200_000_000


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        pytest.param(replace(QWEN2, name="qwen3next"), "qwen3next", id="hybrid"),
        pytest.param(replace(QWEN2, name="qwen25vl"), "qwen25vl", id="vision"),
        pytest.param(replace(QWEN2, name="mamba"), "mamba", id="unknown"),
        pytest.param(replace(QWEN2, fused_attention=True), "fused attention", id="fused"),
        pytest.param(replace(MIXTURE, draft_block_count=1), "draft layers", id="draft"),
    ],
)
def test_what_is_not_known_is_refused_by_name(shape: Architecture, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        refuse(shape)
    with pytest.raises(InvalidInput, match=named):
        StandIn(shape=shape, quantization="Q4_K_M")


def test_a_quantization_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="IQ1_S"):
        StandIn(shape=QWEN2, quantization="IQ1_S")
