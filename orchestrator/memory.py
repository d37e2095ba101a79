"""What a model takes in memory: weights, KV cache, compute buffers, driver contexts. Bytes.

The formulas were read off "buffer size" lines of real servers, Ollama 0.3 to 0.30, and checked
against llama.cpp's source; docs/estimating-memory.md names the evidence and the measured error.
Symbols: C tokens in the cache, B batch, M = B*C, E embedding, F feed-forward, V vocabulary,
H heads; 4 bytes an f32, 2 an f16.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from orchestrator.era import NEWEST, Era, ServerVersion
from orchestrator.model import Architecture, Weights
from orchestrator.units import KIB, MIB

KvType = Literal["f16", "q8_0", "q4_0"]
Device = Literal["cuda", "metal", "cpu"]

# ggml packs 32 elements a block with one f16 scale: 34 bytes at q8_0, 18 at q4_0. Ollama's own
# estimator rounds to 1 and 0.5 a value, 6 % and 11 % below what the cache takes.
KV_BYTES: dict[KvType, Fraction] = {
    "f16": Fraction(2),
    "q8_0": Fraction(34, 32),
    "q4_0": Fraction(18, 32),
}
DRIVER_CONTEXT_BYTES = 457 * MIB
"""Per process and card: CUDA contexts take 300-600 MiB; this is Ollama's own allowance."""
_CELLS = 256  # llama.cpp pads the cache to this many tokens
_STATE_COPIES = 25  # recurrent states a sequence that Ollama 0.13-0.24 keeps
_RUNNER_BYTES, _RUNNER_BYTES_PER_TOKEN = 75 * MIB, 0.3 * KIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The effective settings of a run; `context` is tokens a slot, the cache holds all slots."""

    context: int
    parallel: int = 1
    kv_cache_type: KvType = "f16"
    flash_attention: bool = False
    num_batch: int = 512
    version: ServerVersion = NEWEST

    @property
    def context_total(self) -> int:
        """Tokens of all slots together."""
        return self.context * self.parallel

    @property
    def cells(self) -> int:
        """Tokens that the cache is made for: padded to whole blocks of 256."""
        return -(-self.context_total // _CELLS) * _CELLS

    @property
    def batch(self) -> int:
        """Tokens of one prefill step."""
        return min(self.num_batch, self.cells)


def kv_bytes_per_layer(shape: Architecture, run: Run) -> int:
    """Return the KV cache of one attention layer.

    Grouped-query attention: cells * kv_heads * (key_length + value_length) * bytes a value. With
    multi-head latent attention the cache is the latent only where the file is split for it.
    """
    values = shape.head_count_kv * (shape.key_length + shape.value_length)
    if shape.mla_cache:
        values = shape.kv_lora_rank + shape.rope_dimension_count
    return int(run.cells * values * KV_BYTES[run.kv_cache_type])


def kv_by_layer(shape: Architecture, run: Run) -> tuple[int, ...]:
    """Return cache and recurrent state of each layer; hybrids attend on every n-th layer only."""
    each = kv_bytes_per_layer(shape, run)
    if shape.attention_layers == shape.block_count:
        return (each,) * shape.block_count
    every = shape.block_count // max(1, shape.attention_layers)
    recurrent = shape.block_count - shape.attention_layers
    copies = _STATE_COPIES if run.version.era is Era.MEASURED else 1
    state = shape.recurrent_state_bytes * copies * run.parallel // max(1, recurrent)
    return tuple(each if (i + 1) % every == 0 else state for i in range(shape.block_count))


def compute_bytes(shape: Architecture, run: Run, device: Device) -> int:
    """Return the compute buffer of one device that holds whole layers and the output."""
    if run.version.era is Era.LLAMA_SERVER and run.flash_attention:
        m, b, e = run.batch * run.cells, run.batch, shape.embedding_length
        return 2 * m + 12 * b * (_feed_forward(shape) + e) + (4 * b * e if device == "cpu" else 0)
    return max(_logits(shape, run), _attention(shape, run, device))


def _logits(shape: Architecture, run: Run) -> int:
    """Scores of a whole batch over the vocabulary, beside one or two embeddings."""
    wide = shape.name == "llama" or (run.version.masks_twice and not run.flash_attention)
    embeddings = (2 if wide else 1) * shape.embedding_length
    return 4 * run.batch * (shape.vocab_size + embeddings)


def _attention(shape: Architecture, run: Run, device: Device) -> int:
    m, b, e = run.batch * run.cells, run.batch, shape.embedding_length
    if not run.flash_attention:
        mask = (6 if run.version.masks_twice else 4) * m
        embeddings = 8 if device == "metal" and run.version.masks_twice else 16
        return 4 * m * shape.head_count + mask + embeddings * b * e
    f = _feed_forward(shape)
    # The f32 mask is freed after its cast; feed-forward tensors go into the hole while they fit.
    outside = 4 * b * f * max(0, 3 - m // (b * f)) if f and m >= b * f else 0
    return max(6 * m + 16 * b * e + outside, 2 * m + 4 * b * (3 * f + 3 * e))


def _feed_forward(shape: Architecture) -> int:
    if shape.expert_count:
        return shape.expert_feed_forward_length * shape.expert_used_count
    return shape.feed_forward_length


def host_compute_bytes(shape: Architecture, run: Run, cards: int) -> int:
    """Return the host's part of the compute buffers when layers run on accelerators."""
    m, be = run.batch * run.cells, run.batch * shape.embedding_length
    if run.version.era is Era.LLAMA_SERVER:
        return 8 * be + 2 * m
    mask = (6 if run.version.masks_twice and not run.flash_attention else 4) * m
    return 4 * be + mask * (4 if cards > 1 else 1)


def pipeline_bytes(shape: Architecture, run: Run) -> int:
    """Return what each card holds more when all layers lie on several cards (copies in flight)."""
    m, be = run.batch * run.cells, run.batch * shape.embedding_length
    mask = (6 if run.version.masks_twice else 4) * m
    return 16 * be + (16 * m if run.flash_attention else 3 * mask)


def staging_bytes(shape: Architecture, run: Run, weights: Weights) -> int:
    """Return the first card's buffer where the output layer stays on the host, before 0.30.

    The output matrix is staged there in its own type, beside the logits.
    """
    if run.version.era is Era.LLAMA_SERVER:
        return 0
    output = weights.output_bytes + (weights.embedding_bytes if shape.tied_embeddings else 0)
    return 4 * run.batch * (shape.embedding_length + shape.vocab_size) + output


def output_buffer_bytes(shape: Architecture, run: Run) -> int:
    """Return the logits and embeddings that the server reads back, one row a slot."""
    return 4 * (shape.vocab_size + shape.embedding_length) * run.parallel


def resident_bytes(shape: Architecture, run: Run, weights: Weights, prompt_tokens: int) -> int:
    """Return the pages that a CPU run has touched after a prompt of that many tokens (VmHWM).

    Compute buffers are reserved whole and touched as far as the longest prompt reaches.
    """
    b = min(run.batch, prompt_tokens)
    h, e, f = shape.head_count, shape.embedding_length, _feed_forward(shape)
    touched = 4 * b * h * prompt_tokens + 4 * b * prompt_tokens + 4 * b * (4 * e + 2 * f)
    process = _RUNNER_BYTES + int(_RUNNER_BYTES_PER_TOKEN * shape.vocab_size)
    return weights.total_bytes + sum(kv_by_layer(shape, run)) + process + touched
