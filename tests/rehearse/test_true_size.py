"""One stand-in of true size: deepseek-r1:1.5b at Q4_K_M, held against its published bytes."""

from pathlib import Path

import pytest

from orchestrator.catalog import Catalog
from orchestrator.gguf.layout import laid_out
from orchestrator.home import Home
from tests.conftest import RunDeploy
from tests.loop.answers import answer
from tests.real.server import RealServer
from tests.rehearse.conftest import left_of_rehearsals

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]
_TAG = "deepseek-r1:1.5b"


def test_the_true_1_5b_is_rehearsed_its_bytes_are_exact_and_its_memory_within_10_percent(
    run_deploy: RunDeploy, server: RealServer, tmp_path: Path, home: Home
) -> None:
    profile = tmp_path / "short.toml"
    profile.write_text("min_tps = 0\nvalidation_s = 5\n")
    found = run_deploy(
        "plan", _TAG, "--rehearse", "--profile", profile, "--json",
        env={"OLLAMA_HOST": server.url}, timeout=800,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    done = answer(found, "rehearsal")["rehearsal"]
    listed = Catalog.bundled().find(_TAG)
    laid = laid_out(listed.architecture, listed.quantization, listed.rule).total_bytes
    assert done["weights_bytes"] == {"planned": laid, "written": laid}
    assert laid == listed.tensor_bytes
    # The published header is that of a real tokenizer: ours is a little shorter, or longer.
    assert abs(done["file_bytes"] - listed.file_bytes) < 2_000_000
    memory = next(c for c in done["verdict"]["checks"] if c["name"] == "memory")
    assert abs(memory["error"]) < 0.10
    assert done["measured"]["decode_tps"] > 0
    assert left_of_rehearsals(server, home.data.parent) == []
