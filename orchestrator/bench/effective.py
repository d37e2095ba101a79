"""What a model was really loaded with, read back from its runner and from the server's log.

Servers leave wishes unfulfilled without an error: 0.9.3 ignores a quantized cache on a CPU, an
unset OLLAMA_NUM_PARALLEL gives two slots, from 0.30 on the engine chooses attention and layers.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.bench.load_log import last_load
from orchestrator.runtime.runner import Runner

_COMMAND_LINE, _LOG = "the runner's command line", "the server's log"

# Ollama 0.11 to 0.24 sends its runner what to load: `msg=load request="{Operation:commit …}"`.
_REQUEST = re.compile(r"msg=load request=\"\{Operation:commit (.*)\}\"")
_CACHE = re.compile(r"\bK \((\w+)\):.*\bV \((\w+)\):")
_OFFLOADED = re.compile(r"offloaded (\d+)/\d+ layers to GPU")
# Up to 0.6 the function had another name, and up to 0.12 the context of one slot.
_SAYS = r"llama_(?:context|new_context_with_model): "
_CONTEXT = re.compile(_SAYS + r"n_ctx_(?:per_)?seq +?= (\d+)")
_SLOTS = re.compile(_SAYS + r"n_seq_max +?= (\d+)")
_FLASH = re.compile(_SAYS + r"flash_attn +?= (\w+)")
_THREADS = re.compile(r"system_info: n_threads = (\d+)")
_FLASH_CHOSEN = re.compile(r"Flash Attention.*\b(enabled|disabled)")
_SWITCH = {"1": True, "true": True, "enabled": True, "0": False, "false": False, "disabled": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """What was in effect; None: nothing told it. `context` is that of one slot, in tokens,
    `gpu_layers` counts the output layer too. `how` says who told it.
    """

    context: int | None = None
    parallel: int | None = None
    kv_cache_type: str | None = None
    flash_attention: bool | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    how: str

    def to_json(self) -> dict[str, int | str | bool | None]:
        """Return the fields as a bench document has them."""
        return asdict(self)


def effective(runner: Runner | None, log: str | None, model_file: str | None = None) -> Effective:
    """Return what is in effect, by a runner and by the log since before its load.

    What the engine says that it did wins over what it was told to do. `model_file` is the last part
    of the path of the weights: the log of other models' loads is left out.
    """
    load = last_load(log, model_file) if log else ""
    told, did = _told(runner), _logged(load)
    sources = [name for name, facts in ((_COMMAND_LINE, told), (_LOG, did)) if facts]
    how = " and ".join(sources) or f"neither {_COMMAND_LINE} nor {_LOG} could be read"
    return Effective(**told | did, how=how)


_Facts = dict[str, Any]


def _told(runner: Runner | None) -> _Facts:
    if runner is None:
        return {}
    facts: _Facts = {
        "context": runner.context,
        "parallel": runner.parallel,
        "kv_cache_type": runner.kv_cache_type,
        "flash_attention": runner.flash_attention,
        "threads": runner.threads,
        "gpu_layers": runner.gpu_layers,
    }
    found = _known(facts)
    if runner.context_total is not None:  # where the context is said, a missing type means f16
        found.setdefault("kv_cache_type", "f16")
    return found


def _logged(load: str) -> _Facts:
    """Return what the engine says of itself, over what Ollama asked it for."""
    asked = _REQUEST.findall(load)
    return (_requested(asked[-1]) if asked else {}) | _of_llama_cpp(load)


def _requested(request: str) -> _Facts:
    said = dict(re.findall(r"(\w+):([^\s\[]*)", request))
    total, slots = _number(said.get("KvSize")), _number(said.get("Parallel"))
    layers = re.search(r"GPULayers:(\d*)\[", request)
    return _known(
        {
            "context": total // slots if total and slots else None,
            "parallel": slots,
            "kv_cache_type": (said.get("KvCacheType") or "f16") if "KvCacheType" in said else None,
            "flash_attention": _SWITCH.get(said.get("FlashAttention", "").lower()),
            "threads": _number(said.get("NumThreads")),
            "gpu_layers": int(layers[1] or 0) if layers else None,
        }
    )


def _of_llama_cpp(load: str) -> _Facts:
    chosen = _last(_FLASH_CHOSEN, load) or _last(_FLASH, load) or ""
    types = _CACHE.findall(load)
    return _known(
        {
            "context": _number(_last(_CONTEXT, load)),
            "parallel": _number(_last(_SLOTS, load)),
            "kv_cache_type": "/".join(dict.fromkeys(types[-1])) if types else None,
            "flash_attention": _SWITCH.get(chosen),
            "threads": _number(_last(_THREADS, load)),
            "gpu_layers": _number(_last(_OFFLOADED, load)),
        }
    )


def _known(facts: _Facts) -> _Facts:
    return {name: value for name, value in facts.items() if value is not None}


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.findall(text)
    return str(found[-1]) if found else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
