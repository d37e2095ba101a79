"""What one token costs: the bytes that it reads and the layers that it launches, layer by layer."""

from dataclasses import dataclass, replace
from typing import Self

from orchestrator import memory
from orchestrator.model import Target
from orchestrator.placement import Load
from orchestrator.speed.constants import ClassConstants

SHORT_CONTEXT = 512
"""Tokens in the cache at which rates are published, and at which `likely` is told."""
_TOWER_BYTES_PER_PARAMETER = 2  # vision towers are stored in F16


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A token's way through some layers: bytes read, layers passed, recurrent ones among them."""

    read_bytes: float
    layers: float
    recurrent: float = 0.0

    def __sub__(self, other: "Work") -> "Work":
        return Work(
            read_bytes=self.read_bytes - other.read_bytes,
            layers=self.layers - other.layers,
            recurrent=self.recurrent - other.recurrent,
        )

    def __add__(self, other: "Work") -> "Work":
        return Work(
            read_bytes=self.read_bytes + other.read_bytes,
            layers=self.layers + other.layers,
            recurrent=self.recurrent + other.recurrent,
        )


def seconds(
    work: Work, *, bandwidth_bytes_per_s: float, constants: ClassConstants, recurrent: float
) -> float:
    """Return the seconds of one token on one device.

    bytes / (efficiency * bandwidth) + (layers + recurrent * recurrent layers) * launch time.
    """
    streamed = work.read_bytes / (constants.efficiency * bandwidth_bytes_per_s)
    return streamed + (work.layers + recurrent * work.recurrent) * constants.launch_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """What one token does in the layers of a model, at one length of the context.

    It reads the layers without the experts that it does not use: `used` is the share of the
    experts that it does, `share` that of a whole layer, where the experts' bytes are not known
    apart. `cache_bytes` an attention layer reads, `state_bytes` a recurrent one reads and writes;
    each n-th layer attends. The token embedding is looked up, not read.
    """

    load: Load
    used: float
    share: float
    cache_bytes: int
    state_bytes: float
    every: int

    @classmethod
    def of(cls, target: Target, load: Load, context: int) -> Self:
        """Return the token after `context` others, or as many as a slot holds."""
        shape = load.shape
        run = replace(load.run, context=max(1, min(context, load.run.context)), parallel=1)
        recurrent = shape.block_count - shape.attention_layers
        apart = load.weights.expert_layer_bytes or not shape.expert_count
        return cls(
            load=load,
            used=shape.expert_used_count / max(1, shape.expert_count),
            share=1.0 if apart else _active_share(target, load),
            cache_bytes=memory.kv_bytes_per_layer(shape, run),
            state_bytes=2 * shape.recurrent_state_bytes / max(1, recurrent),
            every=shape.block_count // max(1, shape.attention_layers) if recurrent else 1,
        )

    def span(self, first: int, end: int) -> Work:
        """Return the work of the transformer layers first..end."""
        attention = end // self.every - first // self.every
        recurrent = end - first - attention
        kept = attention * self.cache_bytes + recurrent * self.state_bytes
        weights = self.load.weights
        idle = sum(weights.expert_layer_bytes[first:end]) * (1 - self.used)
        read = sum(weights.per_layer_bytes[first:end]) * self.share - idle
        return Work(read_bytes=read + kept, layers=end - first, recurrent=recurrent)

    def experts(self, first: int, end: int) -> Work:
        """Return the part of that which the experts take: what a server may leave on the host."""
        held = sum(self.load.weights.expert_layer_bytes[first:end])
        return Work(read_bytes=held * self.used, layers=0)


def output_work(load: Load) -> Work:
    """Return the work of the output layer: the matrix, which tied embeddings share."""
    return Work(read_bytes=load.output_bytes, layers=1)


def _active_share(target: Target, load: Load) -> float:
    """Return the share of a layer of a mixture that one token reads, by its parameters.

    What is inactive are whole experts, so the difference of total and active parameters is theirs;
    embedding and output are in both, and a vision tower lies outside the layers.
    """
    shape, weights = load.shape, load.weights
    tower = weights.vision_bytes / _TOWER_BYTES_PER_PARAMETER
    ends = shape.vocab_size * shape.embedding_length * (1 if shape.tied_embeddings else 2)
    inactive = max(0.0, target.parameters_total - tower - target.parameters_active)
    layers = max(1.0, target.parameters_total - tower - ends)
    return max(shape.expert_used_count / shape.expert_count, 1 - inactive / layers)
