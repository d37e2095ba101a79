"""Which engine of an Ollama version runs an architecture, and what that engine does by itself.

Read off fs/ggml/ggml.go and llm/server.go at every release from 0.3.14 to 0.33: the lists of
architectures there grew release by release.
"""

from enum import Enum

from orchestrator.era import Era, ServerVersion
from orchestrator.model import Architecture

Numbers = tuple[int, int, int]

# Ollama's own engine took over one architecture after the other; the rest stayed with llama.cpp's
# runner until 0.30 moved everything to llama-server.
_OWN_ENGINE: dict[str, Numbers] = {
    "qwen25vl": (0, 7, 0), "qwen3": (0, 12, 0), "qwen3moe": (0, 12, 2), "qwen3vl": (0, 12, 7),
    "qwen3vlmoe": (0, 12, 7), "deepseek2": (0, 13, 0), "qwen3next": (0, 15, 5),
    "qwen35": (0, 17, 1), "qwen35moe": (0, 17, 1),
}  # fmt: skip
_TAKEN_BACK = {("qwen3", (0, 12, 5))}
# Its deepseek2 knows the tokenizer of V3 and R1 only; V2, Coder-V2 and V2.5 fall back.
_V3_VOCABULARY = 129_280
_TRIALS_SINCE: Numbers = (0, 11, 11)  # from here on Ollama's own engine is measured, not estimated

# Flash attention without being asked, by architecture; "auto", which means all, came with 0.13.4.
_FLASH: dict[str, Numbers] = {
    "qwen3": (0, 12, 4), "qwen3moe": (0, 12, 4), "qwen3vl": (0, 12, 8), "qwen3vlmoe": (0, 12, 8),
    "qwen3next": (0, 15, 5), "qwen35": (0, 17, 1), "qwen35moe": (0, 17, 1),
}  # fmt: skip
_FLASH_AUTO: Numbers = (0, 13, 4)
_FLASH_ON_CPU: Numbers = (0, 12, 4)
_STREAMS_SINCE: Numbers = (0, 11, 5)
_CAPABILITY_SINCE: Numbers = (0, 12, 5)
_PASCAL_SINCE: Numbers = (0, 31, 2)
_UNLIKE_HEADS_TOO: Numbers = (0, 30, 0)
_ONE_SLOT = ("qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next")


class Engine(Enum):
    """The program that allocates: each has buffers of its own."""

    LLAMA_RUNNER = "llama runner"
    OLLAMA = "Ollama engine"
    LLAMA_SERVER = "llama-server"


def engine_of(shape: Architecture, version: ServerVersion) -> Engine:
    """Return the engine that this version runs this model on."""
    if version.era is Era.LLAMA_SERVER:
        return Engine.LLAMA_SERVER
    since = _OWN_ENGINE.get(shape.name)
    if since is None or version.numbers < since or (shape.name, version.numbers) in _TAKEN_BACK:
        return Engine.LLAMA_RUNNER
    if shape.name == "deepseek2" and shape.vocab_size != _V3_VOCABULARY:
        return Engine.LLAMA_RUNNER
    return Engine.OLLAMA


def placed_by(shape: Architecture, version: ServerVersion) -> Era:
    """Return the era of placement: Ollama's own engine was measured before all others were."""
    own = engine_of(shape, version) is Engine.OLLAMA
    return Era.MEASURED if own and version.numbers >= _TRIALS_SINCE else version.era


def splits_slots(shape: Architecture, version: ServerVersion) -> bool:
    """Whether each slot has cells of its own, so that attention sees those of one slot."""
    engine = engine_of(shape, version)
    since = engine is Engine.LLAMA_RUNNER and version.numbers >= _STREAMS_SINCE
    return since or engine is Engine.LLAMA_SERVER


def flash_by_default(shape: Architecture, version: ServerVersion) -> bool:
    """Whether flash attention is on where nobody set OLLAMA_FLASH_ATTENTION."""
    since = _FLASH.get(shape.name)
    if since is not None and version.numbers >= since:
        return True
    return version.numbers >= _FLASH_AUTO and engine_of(shape, version) is not Engine.OLLAMA


def card_without_flash(capability: tuple[int, int], version: ServerVersion) -> bool:
    """Whether the server takes this CUDA device for one without flash attention."""
    if version.numbers < _CAPABILITY_SINCE:
        return False
    least = (0, 0)
    if version.era is Era.LLAMA_SERVER:
        least = (7, 0) if version.numbers < _PASCAL_SINCE else (6, 0)
    return capability < least or capability == (7, 2)  # 7.2 is Jetson Xavier


def card_decides(shape: Architecture, version: ServerVersion, *, by_hand: bool) -> bool:
    """Whether an old card turns flash attention off: from 0.30 not against what was set by hand,
    and never for what llama.cpp's runner decides by itself.
    """
    if version.era is Era.LLAMA_SERVER:
        return not by_hand
    runner = engine_of(shape, version) is Engine.LLAMA_RUNNER
    return by_hand or not (runner and version.numbers >= _FLASH_AUTO)


def no_flash(shape: Architecture, version: ServerVersion, *, on_cpu: bool) -> str:
    """Return why this server never uses flash attention for this model, or ""."""
    if on_cpu and version.numbers < _FLASH_ON_CPU:
        return "CPU"
    if shape.key_length != shape.value_length and version.numbers < _UNLIKE_HEADS_TOO:
        return f"{shape.name} has keys and values of unlike length"
    return ""


def quantized_cache_needs_asking(shape: Architecture, version: ServerVersion) -> bool:
    """Whether a q8_0 or q4_0 cache is taken only where flash attention was switched on by hand."""
    runner = engine_of(shape, version) is Engine.LLAMA_RUNNER
    return runner and version.numbers >= _FLASH_AUTO


def one_slot_only(shape: Architecture, version: ServerVersion) -> bool:
    """Whether the server runs this architecture with one slot, whatever is set."""
    return shape.name in _ONE_SLOT and version.era is not Era.ESTIMATE
