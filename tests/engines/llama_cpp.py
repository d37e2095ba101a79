"""Load one model in a current llama.cpp (xllamacpp's in-process server), and end: its log is read.

python llama_cpp.py MODEL CONTEXT SLOTS FLASH CACHE_TYPE
"""

import os
import sys

import xllamacpp


def main(model: str, context: str, slots: str, flash: str, cache: str) -> None:
    """Load as Ollama from 0.30 on does on a CPU: no mapped file, each slot with its own cache."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = int(context) * int(slots)
    params.n_parallel = int(slots)
    params.kv_unified = False
    params.n_batch = params.n_ubatch = 512
    params.flash_attn_type = xllamacpp.llama_flash_attn_type[f"LLAMA_FLASH_ATTN_TYPE_{flash}"]
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    kind = xllamacpp.ggml_type[f"GGML_TYPE_{cache.upper()}"]
    params.cache_type_k = params.cache_type_v = kind
    params.warmup = False
    params.port = 0
    params.verbosity = 4
    server = xllamacpp.Server(params)
    sys.stderr.flush()
    os._exit(0 if server else 1)  # its threads have nothing to say any more


if __name__ == "__main__":
    main(*sys.argv[1:])
