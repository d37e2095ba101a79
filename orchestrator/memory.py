"""What a model takes in memory beside its compute buffers: cache, state, driver contexts. Bytes.

The formulas were read off "buffer size" lines of real servers, Ollama 0.3 to 0.30, and checked
against the source of both engines; docs/estimating-memory.md names the evidence.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from orchestrator.engine import Engine, engine_of
from orchestrator.era import NEWEST, ServerVersion
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
_WHOLE_BATCHES = ServerVersion((0, 4, 0))
_CELLS, _OLD_CELLS = 256, 32  # llama.cpp pads the cache to so many tokens
_PADDED_CONTEXT, _SLOTS_PADDED = ServerVersion((0, 13, 0)), ServerVersion((0, 11, 5))
_BATCH_OF_ONE_SLOT = ServerVersion((0, 12, 5))
_STATE_COPIES = 25  # recurrent states a sequence that Ollama's own engine keeps
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
        """Tokens that the cache is made for: whole blocks of 256, of 32 in old runners.

        Flash attention always needed the larger block; since 0.13 the context itself is padded, and
        since 0.11.5 the cells of each slot.
        """
        old = self.version < _PADDED_CONTEXT and not self.flash_attention
        block = _OLD_CELLS if old else _CELLS
        if self.version >= _SLOTS_PADDED:
            return self.parallel * -(-self.context // block) * block
        return -(-self.context_total // block) * block

    @property
    def batch(self) -> int:
        """Tokens of one prefill step; up to 0.3 llama.cpp's server split batches at 512."""
        most = self.num_batch if self.version >= _WHOLE_BATCHES else min(self.num_batch, 512)
        return min(most, self.context if self.version >= _BATCH_OF_ONE_SLOT else self.cells)


def kv_bytes_per_layer(shape: Architecture, run: Run) -> int:
    """Return the KV cache of one attention layer.

    Grouped-query attention: cells * kv_heads * (key_length + value_length) * bytes a value. With
    multi-head latent attention the cache is the latent only where the file is split for it; up to
    0.24 the values, a part of the same latent, were kept once more.
    """
    values = shape.head_count_kv * (shape.key_length + shape.value_length)
    if shape.mla_cache:
        twice = engine_of(shape, run.version) is not Engine.LLAMA_SERVER
        values = shape.kv_lora_rank * (1 + twice) + shape.rope_dimension_count
    return int(run.cells * values * KV_BYTES[run.kv_cache_type])


def kv_by_layer(shape: Architecture, run: Run) -> tuple[int, ...]:
    """Return cache and recurrent state of each layer; hybrids attend on every n-th layer only."""
    each = kv_bytes_per_layer(shape, run)
    if shape.attention_layers == shape.block_count:
        return (each,) * shape.block_count
    every = shape.block_count // max(1, shape.attention_layers)
    recurrent = shape.block_count - shape.attention_layers
    copies = _STATE_COPIES if engine_of(shape, run.version) is Engine.OLLAMA else 1
    state = shape.recurrent_state_bytes * copies * run.parallel // max(1, recurrent)
    return tuple(each if (i + 1) % every == 0 else state for i in range(shape.block_count))


def resident_bytes(shape: Architecture, run: Run, weights: Weights, prompt_tokens: int) -> int:
    """Return the pages that a CPU run has touched after a prompt of that many tokens (VmHWM).

    Compute buffers are reserved whole and touched as far as the longest prompt reaches.
    """
    b = min(run.batch, prompt_tokens)
    h, e, f = shape.head_count, shape.embedding_length, shape.feed_forward_length
    if shape.expert_count:
        f = shape.expert_feed_forward_length * shape.expert_used_count
    touched = 4 * b * h * prompt_tokens + 4 * b * prompt_tokens + 4 * b * (4 * e + 2 * f)
    process = _RUNNER_BYTES + int(_RUNNER_BYTES_PER_TOKEN * shape.vocab_size)
    return weights.total_bytes + sum(kv_by_layer(shape, run)) + process + touched
