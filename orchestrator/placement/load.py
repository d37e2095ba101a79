"""What is placed, on what, and the outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from orchestrator import memory
from orchestrator.engine import Engine, engine_of, placed_by
from orchestrator.era import Era
from orchestrator.memory import Device, Run
from orchestrator.model import Architecture, Weights

Kind = Literal["gpu", "split", "cpu"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """An accelerator as the server sees it.

    `free_bytes` is what the server plans with, `reserve_bytes` what a plan of ours leaves alone of
    it. `unified` says that its memory is the host's; `metal` and `cuda`, what library runs it.
    """

    index: int
    free_bytes: int
    reserve_bytes: int = 0
    metal: bool = False
    cuda: bool = True
    unified: bool = False

    @property
    def budget_bytes(self) -> int:
        """What a plan may fill."""
        return max(0, self.free_bytes - self.reserve_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one card gets: transformer layers, and whether the output layer too.

    Of `expert_layers` the experts stay on the host: llama-server splits a mixture of experts so.
    """

    index: int
    layers: int
    output: bool
    expert_layers: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where the layers go, in the order of the layers; no shares is a run on the CPU."""

    shares: tuple[Share, ...]
    total_layers: int

    @property
    def gpu_layers(self) -> int:
        """Layers on accelerators, the output layer included: the X of "offloaded X/Y"."""
        return sum(s.layers + s.output for s in self.shares)

    @property
    def kind(self) -> Kind:
        """gpu: all layers; cpu: none; split: between."""
        if not self.gpu_layers:
            return "cpu"
        whole = self.gpu_layers == self.total_layers
        return "gpu" if whole and not any(s.expert_layers for s in self.shares) else "split"


@dataclass(frozen=True, kw_only=True)
class Load:
    """A model to be placed, with the server's settings that bear on placement."""

    shape: Architecture
    weights: Weights
    run: Run
    device: Device = "cuda"
    overhead_bytes: int = 0
    fit_target_bytes: int | None = None
    spread: bool = False

    @cached_property
    def layer_bytes(self) -> tuple[int, ...]:
        """Weights and cache of each transformer layer."""
        kv = memory.kv_by_layer(self.shape, self.run)
        return tuple(w + k for w, k in zip(self.layer_weights, kv, strict=True))

    @property
    def layer_weights(self) -> tuple[int, ...]:
        """Weights of each transformer layer as the engine groups them.

        Ollama's own takes the layer that predicts further tokens, `mtp.layers.0`, for the first.
        """
        first, *others = self.weights.per_layer_bytes
        draft = self.weights.draft_bytes if self.engine is Engine.OLLAMA else 0
        return (first + draft, *others)

    @property
    def output_bytes(self) -> int:
        """The output layer on a card: with tied embeddings the matrix is loaded once more.

        What reads pictures goes where the output goes.
        """
        tied = self.weights.embedding_bytes if self.shape.tied_embeddings else 0
        return self.weights.output_bytes + self.weights.vision_bytes + tied

    @property
    def engine(self) -> Engine:
        """Who runs it."""
        return engine_of(self.shape, self.run.version)

    @property
    def placed_by(self) -> Era:
        """Whose rules place it."""
        return placed_by(self.shape, self.run.version)


def everywhere(load: Load, index: int = 0, layers: int | None = None) -> Placement:
    """Return the placement of `layers` (default: all) on one card, whatever fits there."""
    total = load.shape.layers
    wanted = total if layers is None else min(layers, total)
    card = Card(index=index, free_bytes=0)
    return Placement(shares=contiguous(load, [card], [wanted]), total_layers=total)


def contiguous(load: Load, cards: Sequence[Card], counts: Sequence[int]) -> tuple[Share, ...]:
    """Return the shares of cards that hold so many layers each, one slice after the other.

    The engines take the last layers. The output is the very last for llama-server, so that one of
    the counts is always the output's; before, it followed only where all other layers were taken.
    """
    held = [(card.index, n) for card, n in zip(cards, counts, strict=True) if n]
    first = load.engine is Engine.LLAMA_SERVER
    whole = bool(held) and (first or sum(counts) > load.shape.block_count)
    last = len(held) - 1
    return tuple(
        Share(index=index, layers=n - (whole and at == last), output=whole and at == last)
        for at, (index, n) in enumerate(held)
    )
