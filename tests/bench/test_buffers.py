"""Buffers out of logs: of a real server, and lines as other versions wrote them."""

import pytest

from orchestrator.bench.buffers import Parts, parts
from orchestrator.bench.load_log import last_load
from orchestrator.units import GIB, MIB
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel


def _mib(found: Parts | None) -> tuple[float | None, ...]:
    assert found
    sizes = (found.weights_bytes, found.kv_cache_bytes, found.compute_bytes, found.total_bytes)
    return tuple(None if size is None else round(size / MIB, 2) for size in sizes)


def test_a_real_server_tells_them_without_being_asked_to_debug(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    small, large = tiny_models["qwen2.5:0.5b"], tiny_models["deepseek-r1:7b"]
    client = server.client()
    for model in (small, large):
        client.generate(tiny.create(server, model), options={"num_ctx": 1024})
    log = server.log_text()

    # The file is the tensors and a header with the vocabulary.
    assert 0.5 < _weights(parts(log)) / large.path.stat().st_size <= 1
    named = parts(log, small.digest.replace(":", "-"))
    assert 0.5 < _weights(named) / small.path.stat().st_size <= 1
    assert named
    assert named.devices == {"host": named.total_bytes}
    assert parts(log, "sha256-0000") is None


def _weights(found: Parts | None) -> int:
    assert found
    return found.weights_bytes or 0


_OLD = """\
llm_load_tensors: offloaded 15/28 layers to GPU
llm_load_tensors:  CUDA_Host buffer size =  3776.04 MiB
llm_load_tensors:      CUDA0 buffer size =  4712.73 MiB
llama_kv_cache_init:  CUDA_Host KV buffer size =  1200.00 MiB
llama_kv_cache_init:      CUDA0 KV buffer size =  1500.00 MiB
llama_new_context_with_model: KV self size  = 2700.00 MiB, K (f16): 1620.00 MiB, V (f16): 1080 MiB
llama_new_context_with_model:  CUDA_Host  output buffer size =     0.40 MiB
llama_new_context_with_model:      CUDA0 compute buffer size =   483.38 MiB
llama_new_context_with_model:  CUDA_Host compute buffer size =    30.01 MiB
"""
_NEW = """\
time=2026-06-28T20:51:02.167Z level=INFO msg="starting llama-server" cmd="/lib/ollama/llama-server \
--model /m/blobs/sha256-aa --port 42103 -c 8192 -np 2 --flash-attn auto"
common_memory_breakdown_print: |   - CUDA0 (RTX 2060) |  5738 = 5141 + (8392 =  4155 + 4096 + 140) |
load_tensors:   CPU_Mapped model buffer size =  2676.44 MiB
load_tensors:        CUDA0 model buffer size =  2049.43 MiB
llama_context: constructing llama_context
llama_context:  CUDA_Host  output buffer size =     0.49 MiB
llama_kv_cache_iswa: creating non-SWA KV cache, size = 8192 cells
llama_kv_cache:        CPU KV buffer size =   100.00 MiB
llama_kv_cache:      CUDA0 KV buffer size =   200.00 MiB
llama_kv_cache: size =  300.00 MiB (  8192 cells,  12 layers,  1/1 seqs), K (f16):  150.00 MiB
llama_kv_cache_iswa: creating     SWA KV cache, size = 1024 cells
llama_kv_cache:      CUDA0 KV buffer size =    20.00 MiB
llama_memory_recurrent:      CUDA0 RS buffer size =     5.00 MiB
sched_reserve:      CUDA0 compute buffer size =   999.00 MiB
sched_reserve:      CUDA0 compute buffer size =   248.00 MiB
sched_reserve:  CUDA_Host compute buffer size =    48.01 MiB
"""


def test_lines_of_2024_have_no_word_for_weights() -> None:
    found = parts(_OLD)

    assert _mib(found) == (8488.77, 2700.0, 513.79, 11702.56)
    assert found
    assert {d: round(size / MIB, 2) for d, size in found.devices.items()} == {
        "host": 5006.45,
        "CUDA0": 6696.11,
    }


def test_two_caches_add_up_and_a_graph_reserved_again_replaces_the_first() -> None:
    found = parts(_NEW)

    assert _mib(found) == (4725.87, 325.0, 296.5, 5347.37)
    assert found
    assert round(found.devices["CUDA0"] / MIB, 2) == 2522.43


def test_the_journals_prefix_does_not_matter() -> None:
    prefixed = "".join(f"Sep 11 00:42:50 ai ollama[3110]: {x}\n" for x in _NEW.splitlines())

    assert parts(prefixed) == parts(_NEW)


@pytest.mark.parametrize(
    "start", ["", 'msg="starting runner" cmd="/bin/ollama runner --model /x"\n']
)
def test_only_the_last_load_counts(start: str) -> None:
    assert parts(_NEW + start + _OLD) == parts(_OLD)


def test_a_load_that_failed_has_no_buffers_of_the_load_before_it() -> None:
    failed = 'msg="starting llama server" cmd="/bin/ollama runner --model /x --ctx-size 4096"\n'

    assert parts(_NEW + failed) is None


def test_listing_the_gpus_is_no_load() -> None:
    listing = 'msg="starting runner" cmd="/bin/ollama runner --ollama-engine --port 33441"\n'

    assert parts(_NEW + listing) == parts(_NEW)
    assert last_load(_OLD + listing) == _OLD + listing


_OWN_ENGINE = """\
msg="starting runner" cmd="/usr/bin/ollama runner --ollama-engine --model /m/sha256-aa --port 33441"
source=device.go:240 msg="model weights" device=CUDA0 size="18.5 GiB"
source=device.go:251 msg="kv cache" device=CUDA1 size="9.9 GiB"
source=device.go:272 msg="total memory" size="33.5 GiB"
source=device.go:240 msg="model weights" device=CUDA0 size="18.5 GiB"
source=device.go:245 msg="model weights" device=CPU size="11.7 GiB"
source=device.go:251 msg="kv cache" device=CUDA0 size="1.5 GiB"
source=device.go:256 msg="kv cache" device=CPU size="512.0 MiB"
source=device.go:262 msg="compute graph" device=CUDA0 size="256.0 MiB"
source=device.go:267 msg="compute graph" device=CPU size="0 B"
source=device.go:272 msg="total memory" size="32.4 GiB"
"""


def test_ollamas_own_engine_tells_sums_of_the_layout_it_settled_on() -> None:
    found = parts(_OWN_ENGINE)

    assert found
    assert (found.weights_bytes, found.kv_cache_bytes) == (int(30.2 * GIB), 2 * GIB)
    assert found.compute_bytes == 256 * MIB
    assert found.devices["CUDA0"] == int(20.25 * GIB)
    assert "rounded" in found.how


def test_up_to_0_11_that_engine_does_not_tell_the_cache_so_there_is_no_total() -> None:
    found = parts(
        'msg="model weights" buffer=CUDA0 size="16.0 GiB"\n'
        'msg="model weights" buffer=CPU size="1.0 GiB"\n'
        'msg="compute graph" backend=CUDA0 buffer_type=CUDA0 size="1.0 GiB"\n'
        'msg="compute graph" backend=CPU buffer_type=CPU size="0 B"\n'
        'msg="compute graph" backend=CUDA0 buffer_type=CUDA0 size="1.5 GiB"\n'
    )

    assert found
    assert (found.weights_bytes, found.kv_cache_bytes) == (17 * GIB, None)
    assert (found.compute_bytes, found.total_bytes) == (int(1.5 * GIB), None)


def test_what_llama_cpp_allocates_wins_over_what_ollama_expected() -> None:
    assert parts(_OWN_ENGINE + _OLD) == parts(_OLD)


@pytest.mark.parametrize("log", ["", "nothing of the kind\n", 'msg="total memory" size="1 GiB"'])
def test_a_log_that_tells_nothing(log: str) -> None:
    assert parts(log) is None
