"""What a runner's command line says, of a real one and of other versions."""

from pathlib import Path

import pytest

from orchestrator.runtime.binary import Binary
from orchestrator.runtime.runner import Runner, runners_of
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

BLOB = "/models/blobs/sha256-ba7"


def test_a_real_runner_says_what_it_was_loaded_with(
    runtime_binary: Binary, tiny_models: dict[str, TinyModel], tmp_path: Path
) -> None:
    slots = {"OLLAMA_NUM_PARALLEL": "2"}
    binary, library = runtime_binary.path, runtime_binary.library_path
    with RealServer(binary, library, tmp_path, settings=slots) as server:
        name = tiny.create(server, model := tiny_models["qwen2.5:0.5b"])
        server.client().generate(name, "", options={"num_ctx": 768})

        [runner] = runners_of(server.pid)

    assert runner.blob == model.digest
    assert (runner.context_total, runner.parallel, runner.context) == (1536, 2, 768)
    assert runner.gpu_layers == 0
    assert (runner.kv_cache_type, runner.flash_attention) == (None, None)
    assert runner.threads
    assert runner.threads >= 1


def _read(proc: Path, *arguments: str) -> Runner:
    for pid, parent, command in ((1, 0, ("ollama", "serve")), (2, 1, arguments)):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "status").write_text(f"PPid:\t{parent}\n")
        (proc / str(pid) / "cmdline").write_text("\0".join(command) + "\0")
    [runner] = runners_of(1, proc)
    return runner


def test_the_short_flags_of_the_newest_kind(tmp_path: Path) -> None:
    runner = _read(
        tmp_path, "/lib/llama-server", "--model", BLOB, "-c", "8192", "-np", "4", "-ngl", "29"
    )

    assert (runner.context_total, runner.parallel, runner.gpu_layers) == (8192, 4, 29)
    assert runner.context == 2048


@pytest.mark.parametrize(
    ("arguments", "total", "context"),
    [
        pytest.param((), None, None, id="nothing-said"),
        pytest.param(("--ctx-size", "4096"), 4096, None, id="no-slots"),
        pytest.param(("--parallel", "2"), None, None, id="no-context"),
        pytest.param(("--ctx-size=4096", "--parallel=2"), 4096, 2048, id="with-an-equals-sign"),
        pytest.param(("--parallel", "0", "--ctx-size", "4096"), 4096, None, id="no-slot-at-all"),
        pytest.param(("--parallel", "1", "--ctx-size"), None, None, id="cut-off"),
    ],
)
def test_what_is_not_said_is_not_known(
    tmp_path: Path, arguments: tuple[str, ...], total: int | None, context: int | None
) -> None:
    runner = _read(tmp_path, "ollama", "runner", "--model", BLOB, *arguments)

    assert (runner.context_total, runner.context) == (total, context)
    assert runner.gpu_layers is None
    assert (runner.threads, runner.kv_cache_type, runner.flash_attention) == (None, None, None)


@pytest.mark.parametrize(
    ("arguments", "kind", "flash"),
    [
        pytest.param(("--flash-attn", "--kv-cache-type", "q8_0"), "q8_0", True, id="ollama-runner"),
        pytest.param(("--kv-cache-type", "q4_0", "--flash-attn"), "q4_0", True, id="at-the-end"),
        pytest.param(
            ("-ctk", "q8_0", "-ctv", "q8_0", "-fa", "on"), "q8_0", True, id="llama-server"
        ),
        pytest.param(("--cache-type-k", "f16", "--flash-attn", "off"), "f16", False, id="long"),
        pytest.param(("--flash-attn", "auto"), None, None, id="it-decides-itself"),
        pytest.param(("--flash-attn=auto",), None, None, id="it-decides-with-an-equals-sign"),
        pytest.param(("-fa", "-1"), None, None, id="auto-as-a-number"),
    ],
)
def test_the_cache_and_the_attention_that_it_was_told_to_use(
    tmp_path: Path, arguments: tuple[str, ...], kind: str | None, flash: bool | None
) -> None:
    runner = _read(tmp_path, "llama-server", "--model", BLOB, *arguments, "-t", "8")

    assert (runner.kv_cache_type, runner.flash_attention, runner.threads) == (kind, flash, 8)
