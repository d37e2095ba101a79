"""What was in effect: of a real server, and as other versions tell it."""

from pathlib import Path

import pytest

from orchestrator.bench.effective import Effective, effective
from orchestrator.runtime.binary import Binary
from orchestrator.runtime.runner import Runner, runners_of
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel


def test_a_quantized_cache_that_the_server_ignores_is_told_as_what_it_is(
    runtime_binary: Binary, tiny_models: dict[str, TinyModel], tmp_path: Path
) -> None:
    wishes = {
        "OLLAMA_KV_CACHE_TYPE": "q8_0",
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_NUM_PARALLEL": "2",
    }
    binary, library = runtime_binary.path, runtime_binary.library_path
    with RealServer(binary, library, tmp_path, settings=wishes) as server:
        name = tiny.create(server, tiny_models["qwen2.5:0.5b"])
        server.client().generate(name, options={"num_ctx": 1024, "num_thread": 1})
        [runner] = runners_of(server.pid)
        log = server.log_text()

    by_both, by_log = effective(runner, log), effective(None, log)

    assert by_both == Effective(
        context=1024,
        parallel=2,
        kv_cache_type="f16",
        flash_attention=False,
        threads=1,
        gpu_layers=0,
        how="the runner's command line and the server's log",
    )
    assert by_log.context == by_both.context
    assert (by_log.kv_cache_type, by_log.flash_attention) == ("f16", False)
    assert effective(runner, None).kv_cache_type == "f16"


_LLAMA_SERVER = """\
msg="starting llama-server" cmd="/lib/ollama/llama-server --model /m/sha256-aa -c 32768 -np 2"
system_info: n_threads = 8 (n_threads_batch = 8) / 16 | CPU : SSE3 = 1
load_tensors: offloaded 15/33 layers to GPU
llama_context: n_seq_max     = 2
llama_context: n_ctx         = 32768
llama_context: n_ctx_seq     = 16384
llama_context: flash_attn    = auto
llama_kv_cache: size = 4096.00 MiB ( 32768 cells,  32 layers,  1/1 seqs), K (q8_0): 2048.00 MiB, \
V (q8_0): 2048.00 MiB
sched_reserve: Flash Attention was auto, set to enabled
"""
_OWN_ENGINE = """\
msg="starting runner" cmd="/usr/bin/ollama runner --ollama-engine --model /m/sha256-bb --port 1"
source=runner.go:1284 msg=load request="{Operation:fit LoraPath:[] Parallel:4 BatchSize:512 \
FlashAttention:Disabled KvSize:8 KvCacheType: NumThreads:1 GPULayers:[] MultiUserCache:false}"
source=runner.go:1284 msg=load request="{Operation:commit LoraPath:[] Parallel:2 BatchSize:512 \
FlashAttention:Enabled KvSize:8192 KvCacheType:q8_0 NumThreads:4 GPULayers:41[ID:0 \
Layers:41(0..40)] MultiUserCache:false ProjectorPath: MainGPU:0 UseMmap:true}"
"""


def test_llama_server_says_what_it_chose_itself() -> None:
    runner = Runner(
        pid=1, rss_bytes=None, peak_rss_bytes=None, model_path="/m/sha256-aa",
        context_total=32768, parallel=2,
    )  # fmt: skip

    assert effective(runner, _LLAMA_SERVER) == Effective(
        context=16384,
        parallel=2,
        kv_cache_type="q8_0",
        flash_attention=True,
        threads=8,
        gpu_layers=15,
        how="the runner's command line and the server's log",
    )


def test_a_command_line_with_a_context_and_no_type_of_cache_means_f16() -> None:
    runner = Runner(
        pid=1, rss_bytes=None, peak_rss_bytes=None, model_path="/m/sha256-aa", context_total=4096
    )

    assert effective(runner, None) == Effective(
        kv_cache_type="f16", how="the runner's command line"
    )


def test_a_runner_without_options_was_sent_them_over_its_port() -> None:
    bare = Runner(pid=1, rss_bytes=None, peak_rss_bytes=None, model_path="/m/sha256-bb")

    assert effective(bare, _OWN_ENGINE) == Effective(
        context=4096,
        parallel=2,
        kv_cache_type="q8_0",
        flash_attention=True,
        threads=4,
        gpu_layers=41,
        how="the server's log",
    )
    assert effective(bare, None).kv_cache_type is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("FlashAttention:false KvCacheType:", (False, "f16", None), id="off-and-f16"),
        pytest.param("FlashAttention:Auto KvCacheType:", (None, "f16", None), id="undecided"),
        pytest.param("GPULayers:[] KvSize:4096", (None, None, 0), id="no-layers"),
    ],
)
def test_what_a_request_leaves_empty(
    line: str, expected: tuple[bool | None, str | None, int | None]
) -> None:
    found = effective(None, f'msg=load request="{{Operation:commit {line}}}"\n')

    assert (found.flash_attention, found.kv_cache_type, found.gpu_layers) == expected


def test_keys_and_values_of_two_types_are_both_named() -> None:
    assert effective(None, "KV self size = 9 MiB, K (q8_0): 4 MiB, V (f16): 5 MiB\n").to_json()[
        "kv_cache_type"
    ] == ("q8_0/f16")


def test_another_models_load_is_not_taken() -> None:
    found = effective(None, _OWN_ENGINE + _LLAMA_SERVER, "sha256-bb")

    assert (found.parallel, found.threads) == (2, 4)
    assert effective(None, _OWN_ENGINE, "sha256-cc").parallel is None


def test_attention_that_the_engine_could_not_use_is_off() -> None:
    chosen = "sched_reserve: Flash Attention not supported, set to disabled"
    log = f"llama_context: flash_attn = auto\n{chosen}\n"

    assert effective(None, log).flash_attention is False


def test_nothing_readable_is_said_so() -> None:
    assert effective(None, None) == Effective(
        how="neither the runner's command line nor the server's log could be read"
    )
