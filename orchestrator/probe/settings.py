"""An Ollama server's settings out of its environment, read the way Ollama reads them."""

from collections.abc import Mapping

from orchestrator.machine import ServerSettings
from orchestrator.runtime.environment import setting
from orchestrator.units import MIB

_FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})


def settings_of(environ: Mapping[str, str]) -> ServerSettings:
    """Return what the variables set; None where unset, unreadable or 0 for "choose yourself".

    Source: Ollama's envconfig at 0.9.3 and fb3076099: quotes and spaces around a value are
    dropped, an empty value is an unset one, and any text but a false one switches a flag on.
    LLAMA_ARG_FIT_TARGET is llama.cpp's margin in MiB a device; of a list the largest counts.
    """

    def text(name: str) -> str | None:
        return setting(environ, name)

    def number(name: str) -> int | None:
        value = text(name)
        return int(value) if value and value.isdecimal() else None

    def flag(name: str) -> bool | None:
        value = text(name)
        return None if value is None else value not in _FALSE

    margins = [part for part in (text("LLAMA_ARG_FIT_TARGET") or "").split(",") if part.isdecimal()]
    return ServerSettings(
        num_parallel=number("OLLAMA_NUM_PARALLEL") or None,
        context_length=number("OLLAMA_CONTEXT_LENGTH") or None,
        flash_attention=flag("OLLAMA_FLASH_ATTENTION"),
        kv_cache_type=(text("OLLAMA_KV_CACHE_TYPE") or "").lower() or None,
        gpu_overhead_bytes=number("OLLAMA_GPU_OVERHEAD"),
        sched_spread=flag("OLLAMA_SCHED_SPREAD"),
        max_loaded_models=number("OLLAMA_MAX_LOADED_MODELS") or None,
        keep_alive=text("OLLAMA_KEEP_ALIVE"),
        models_path=text("OLLAMA_MODELS"),
        # Here an empty value is no unset one: it hides every device.
        visible_devices=environ.get("CUDA_VISIBLE_DEVICES"),
        fit_target_bytes=max(map(int, margins)) * MIB if margins else None,
    )
