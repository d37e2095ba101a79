"""What Ollama itself reckons with before 0.30: its cache and graph sizes, not the true ones.

fs/ggml/ggml.go, function GraphSize: the same from 0.3.14 to 0.24 for these architectures. Symbols:
c tokens of all slots, b batch, e embedding, v vocabulary, h heads, k heads of keys and values.
"""

from orchestrator.era import ServerVersion
from orchestrator.memory import KvType, Run
from orchestrator.model import Architecture

_LEAST_CONTEXT = 2048  # of models without a projector
_LEAST_SINCE, _LEAST_UNTIL = ServerVersion((0, 7, 1)), ServerVersion((0, 11, 5))
# It takes a quantized value for a whole byte or half a one, without the scale of its block.
_VALUE_BYTES: dict[KvType, float] = {"f16": 2, "q8_0": 1, "q4_0": 0.5}


def counted_context(run: Run) -> int:
    """Return the tokens that the server reckons with."""
    floored = _LEAST_SINCE <= run.version < _LEAST_UNTIL
    return max(run.context_total, _LEAST_CONTEXT) if floored else run.context_total


def counted_cache(shape: Architecture, run: Run) -> tuple[int, ...]:
    """Return the cache of each layer as the server counts it."""
    values = shape.head_count_kv * (shape.key_length + shape.value_length)
    each = int(counted_context(run) * values * _VALUE_BYTES[run.kv_cache_type])
    recurrent = shape.block_count - shape.attention_layers
    if not recurrent:
        return (each,) * shape.block_count
    state = shape.recurrent_state_bytes // recurrent
    every = shape.block_count // max(1, shape.attention_layers)
    return tuple(each if (i + 1) % every == 0 else state for i in range(shape.block_count))


def graph_bytes(shape: Architecture, run: Run) -> tuple[int, int]:
    """Return (full, partial): what the server counts for the graph, wholly and partly on GPUs."""
    c = counted_context(run)
    b, e, v = min(c, run.num_batch), shape.embedding_length, shape.vocab_size
    h, k, d = shape.head_count, shape.head_count_kv, shape.embedding_length // shape.head_count
    logits = 4 * b * (e + v) + e * v * 105 // 128
    if shape.name == "qwen2":
        full = max(4 * b * (e + v), 4 * b * (1 + 2 * e + c + c * h))
        return full, max(logits, 4 * (b * (1 + 2 * e + c * (1 + h)) + e * (1 + c)))
    if shape.name == "llama":
        full = max(4 * b * (1 + 4 * e + c * (1 + h)), 4 * b * (e + v))
        scores = 4 * b * (1 + e + max(c, e)) + e * e * 9 // 16 + 4 * c * (b * h + d * k)
        return full, 4 * b * e + max(scores, logits)
    if shape.name == "deepseek2":
        dk = shape.key_length
        full = max(4 * b * (3 * e + v), 4 * b * (3 * e + 2 + c * (1 + k) + 2 * dk * k))
        wide = 4 * b * (2 * e + 1 + 2 * dk * k + c + c * k) + 4 * dk * c * k + e * dk * k * 9 // 16
        return full, max(4 * b * (3 * e + v) + e * v * 105 // 128, wide)
    least = (
        k if shape.attention_layers == shape.block_count else 1
    )  # of hybrids' layers: none, or 1
    partial = (h // max(1, least)) * sum(counted_cache(shape, run)) // 6
    return partial, partial
