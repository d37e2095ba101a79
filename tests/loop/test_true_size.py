"""One stand-in of true size: the 1.5B at Q4_K_M, with its real tokenizer, its real bytes."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.runtime import Binary
from tests.conftest import RunDeploy
from tests.loop.answers import answer, chat
from tests.real.registry import Registry
from tests.real.server import RealServer

MIB = 1024**2
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def debug_server(runtime_binary: Binary, tmp_path: Path) -> Iterator[RealServer]:
    """A server that logs the buffers of its runners."""
    settings = {"OLLAMA_DEBUG": "1"}
    with RealServer(
        runtime_binary.path, runtime_binary.library_path, tmp_path / "server", settings=settings
    ) as server:
        yield server


def logged_buffers_bytes(log: str) -> float:
    """The sum of the last load's "buffer size" lines: what the engine really allocated."""
    last = log[log.rindex("starting llama server") :]
    sizes = re.findall(r"buffer size =\s+([\d.]+) MiB", last)
    return sum(map(float, sizes)) * MIB


def test_the_reasoning_profile_deploys_the_true_size_1_5b_and_both_estimates_hold(
    run_deploy: RunDeploy, debug_server: RealServer, true_size_registry: Registry
) -> None:
    found = run_deploy(
        "auto", "--profile", "reasoning", "--registry", true_size_registry.url,
        "--max-memory", "2.5GiB", "--min-tps", "1", "--json",
        env={"OLLAMA_HOST": debug_server.url}, timeout=1000,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    deployed = answer(found, "deployment")
    assert deployed["tag"] == "deepseek-r1:1.5b"
    finer = next(r for r in deployed["rejected"] if r["tag"].endswith("1.5b-qwen-distill-q8_0"))
    assert finer["reason"] == "unavailable"
    resident = deployed["measured"]["resident_bytes"]
    assert abs(resident - deployed["planned"]["resident_bytes"]) / resident < 0.10
    logged = logged_buffers_bytes(debug_server.log_text())
    assert abs(logged - deployed["planned"]["total_bytes"]) / logged < 0.03
    assert deployed["measured"]["decode_tps"] > 0
    assert chat(debug_server, "deploy-current") == "deploy-current"
    assert sum(p.stat().st_size for p in debug_server.models.glob("blobs/*")) > 1_117_000_000
