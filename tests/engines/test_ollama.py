"""What Ollama 0.9.3 allocates, and what it reckons with, against our formulas."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import compute, memory
from orchestrator.gguf.layout import laid_out
from orchestrator.memory import Run
from orchestrator.model import Architecture
from orchestrator.placement.formulas import counted_cache, graph_bytes
from orchestrator.runtime import Binary
from orchestrator.units import GIB, KIB, MIB
from tests.engines.buffers import compared, logged_bytes
from tests.engines.hollow import write
from tests.engines.test_llama_cpp import LLAMA, QWEN2, QWEN3
from tests.real.server import RealServer
from tests.shapes import run_of

_TO_THE_DIGIT = 0.01 * MIB
_UNITS = {"KiB": KIB, "MiB": MIB, "GiB": GIB}
_REQUIRED = re.compile(r'memory\.([a-z.]+)="([\d.]+) ([KMG]iB)"')
SMALL_LLAMA = replace(
    LLAMA, embedding_length=1024, feed_forward_length=2816, head_count=16, head_count_kv=4,
    key_length=64, value_length=64, tied_embeddings=True,
)  # fmt: skip


@pytest.fixture
def slots() -> int:
    return 1


@pytest.fixture
def debug_server(runtime_binary: Binary, tmp_path: Path, slots: int) -> Iterator[RealServer]:
    """A server that logs the buffers of its runners."""
    settings = {"OLLAMA_DEBUG": "1", "OLLAMA_NUM_PARALLEL": str(slots)}
    with RealServer(
        runtime_binary.path, runtime_binary.library_path, tmp_path / "server", settings=settings
    ) as server:
        yield server


@pytest.mark.parametrize(
    ("shape", "quantization", "contexts", "slots"),
    [
        pytest.param(QWEN2, "Q4_K_M", (2048, 32768), 1, id="qwen2-q4_k_m"),
        pytest.param(QWEN2, "F16", (4096,), 1, id="qwen2-f16"),
        pytest.param(QWEN3, "Q8_0", (8192,), 4, id="qwen3-q8_0-four-slots"),
        pytest.param(SMALL_LLAMA, "Q4_0", (4096, 16384), 1, id="llama-q4_0"),
    ],
)
def test_the_log_says_what_we_say(
    debug_server: RealServer,
    tmp_path: Path,
    shape: Architecture,
    quantization: str,
    contexts: tuple[int, ...],
    slots: int,
) -> None:
    model = write(tmp_path / "hollow.gguf", shape, quantization)
    client = debug_server.client()
    client.create("hollow", files={model.name: client.create_blob(model)})
    model.unlink()
    for context in contexts:
        client.generate("hollow", options={"num_ctx": context})
        last = debug_server.log_text().rpartition("starting llama server")
        run = run_of("0.9.3", context, parallel=slots)
        _check_buffers(shape, quantization, run, logged_bytes(last[2]))
        _check_reckoning(shape, run, last[0])


def _check_buffers(shape: Architecture, quantization: str, run: Run, found: dict[str, int]) -> None:
    weights = laid_out(shape, quantization).total_bytes
    cache = sum(memory.kv_by_layer(shape, run))
    graph = compute.device_bytes(shape, run, "cpu") + compute.output_bytes(shape, run)
    assert found["model"] == pytest.approx(weights, abs=_TO_THE_DIGIT)
    assert found["KV"] == pytest.approx(cache, abs=_TO_THE_DIGIT)
    name = f"Ollama 0.9.3 {shape.name} {quantization} {run.context} x {run.parallel}"
    assert abs(compared(name, {"model": weights, "KV": cache, "compute": graph}, found)) < 0.03


def _check_reckoning(shape: Architecture, run: Run, log: str) -> None:
    """What the server itself expects decides where it would place a model."""
    line = log[log.rindex("msg=offload") :]
    said = {key: (float(number), unit) for key, number, unit in _REQUIRED.findall(line)}
    full, partial = graph_bytes(shape, run)
    ours = {
        "required.kv": sum(counted_cache(shape, run)), "graph.full": full, "graph.partial": partial,
    }  # fmt: skip
    for key, size in ours.items():
        number, unit = said[key]
        assert size / _UNITS[unit] == pytest.approx(number, abs=0.06), key  # one decimal is shown
