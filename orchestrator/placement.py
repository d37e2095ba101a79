"""What an Ollama version will do with a model on given cards: how many layers go where.

Facts: llm/memory.go at 0.9.3, llm/server.go at 0.20, llama.cpp's common/fit at 0.30 and later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator import memory
from orchestrator.era import Era
from orchestrator.memory import Device, Run
from orchestrator.model import Architecture, Weights
from orchestrator.units import MIB

Kind = Literal["gpu", "split", "cpu"]
_MINIMUM_BYTES = 457 * MIB
_FIT_TARGET_BYTES = 1024 * MIB
_OLD_RUNNER = ("qwen2", "llama")  # llama.cpp's runner kept the old graph sizes until 0.30
_ALONE_SHARE = 0.8  # of a card's free memory: up to there a model is put on that card alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """An accelerator as placement sees it; `free_bytes` is what the server may plan with.

    `unified` says that its memory is the host's.
    """

    index: int
    free_bytes: int
    metal: bool = False
    unified: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one card gets: transformer layers, and whether the output layer too."""

    index: int
    layers: int
    output: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where the layers go; no shares is a run on the CPU."""

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
        return "gpu" if self.gpu_layers == self.total_layers else "split"


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """A model to be placed, with the server's settings that bear on placement."""

    shape: Architecture
    weights: Weights
    run: Run
    device: Device = "cuda"
    overhead_bytes: int = 0
    fit_target_bytes: int | None = None
    spread: bool = False

    @property
    def layer_bytes(self) -> tuple[int, ...]:
        """Weights and cache of each transformer layer."""
        kv = memory.kv_by_layer(self.shape, self.run)
        return tuple(w + k for w, k in zip(self.weights.per_layer_bytes, kv, strict=True))

    @property
    def output_bytes(self) -> int:
        """The output layer on a card: with tied embeddings the matrix is loaded once more."""
        tied = self.weights.embedding_bytes if self.shape.tied_embeddings else 0
        return self.weights.output_bytes + tied


def place(load: Load, cards: Sequence[Card]) -> Placement:
    """Return what the server of `load.run.version` does on these cards."""
    best = Placement(shares=(), total_layers=load.shape.layers)
    for group in _groups(load, cards):
        shares = _fill(load, group)
        placed = Placement(shares=shares, total_layers=load.shape.layers)
        if placed.kind == "gpu":
            return placed
        if placed.gpu_layers > best.gpu_layers:
            best = placed
    return best


def _groups(load: Load, cards: Sequence[Card]) -> list[list[Card]]:
    """Return the sets of cards that the server tries in turn, most free memory first."""
    ordered = sorted(cards, key=lambda c: c.free_bytes, reverse=True)
    if load.spread or len(ordered) < 2:
        return [ordered]
    era = load.run.version.era
    if era is Era.MEASURED:  # as few cards as possible
        return [ordered[: n + 1] for n in range(len(ordered))]
    if era is Era.LLAMA_SERVER and server_bytes(load) > _ALONE_SHARE * ordered[0].free_bytes:
        return [ordered]
    return [ordered[:1], ordered]


def server_bytes(load: Load) -> int:
    """Return what Ollama from 0.30 on predicts, to decide whether one card will do."""
    shape, width = load.shape, load.shape.embedding_length // load.shape.head_count
    cache = 4 * shape.block_count * shape.head_count_kv * width * load.run.context_total
    return load.weights.total_bytes + cache


def everywhere(load: Load, index: int = 0, layers: int | None = None) -> Placement:
    """Return the placement of `layers` (default: all) on one card, whatever fits there."""
    total = load.shape.layers
    wanted = total if layers is None else min(layers, total)
    if not wanted:
        return Placement(shares=(), total_layers=total)
    output = wanted == total
    share = Share(index=index, layers=wanted - output, output=output)
    return Placement(shares=(share,), total_layers=total)


def _fill(load: Load, cards: Sequence[Card]) -> tuple[Share, ...]:
    """Return what each card gets; the measured era starts again when the output does not fit."""
    shares = _handed_out(load, cards, _room(load, cards))
    whole = any(s.output for s in shares)
    if whole or load.run.version.era is not Era.MEASURED:
        return shares
    staged = memory.staging_bytes(load.shape, load.run, load.weights)
    room = _room(load, cards)
    room[0] -= max(0, staged - _graph(load, several=len(cards) > 1))
    return tuple(replace(s, output=False) for s in _handed_out(load, cards, room))


def _handed_out(load: Load, cards: Sequence[Card], room: list[int]) -> tuple[Share, ...]:
    """Hand layers out from the last to the first, then the output layer."""
    sizes = load.layer_bytes
    count = [0] * len(cards)
    open_cards = [i for i in range(len(cards)) if room[i] > 2 * sizes[0]]
    if not open_cards:
        return ()
    if load.run.version.era is Era.ESTIMATE:
        for i in open_cards:  # one extra layer a card is kept as a buffer
            room[i] -= sizes[0]
    for step, size in enumerate(reversed(sizes)):
        while open_cards and room[i := open_cards[step % len(open_cards)]] <= size:
            open_cards.remove(i)
        if not open_cards:
            break
        i = open_cards[step % len(open_cards)]
        room[i] -= size
        count[i] += 1
    output = next((i for i in range(len(cards)) if count[i] and room[i] > load.output_bytes), None)
    if sum(count) < load.shape.block_count:
        output = None
    return tuple(
        Share(index=card.index, layers=n, output=i == output)
        for i, (card, n) in enumerate(zip(cards, count, strict=True))
        if n
    )


def _room(load: Load, cards: Sequence[Card]) -> list[int]:
    """Return what each card has left for layers by the rules of the era."""
    aside = _MINIMUM_BYTES + load.overhead_bytes
    if load.run.version.era is Era.LLAMA_SERVER:
        target = load.fit_target_bytes
        aside = _FIT_TARGET_BYTES if target is None else target
    aside += _graph(load, several=len(cards) > 1)
    return [c.free_bytes - aside for c in cards]


def _graph(load: Load, *, several: bool) -> int:
    """Return the compute buffer that the server counts with on each card."""
    shape, run, era = load.shape, load.run, load.run.version.era
    if era is Era.ESTIMATE or (era is Era.MEASURED and shape.name in _OLD_RUNNER):
        full, partial = graph_bytes(shape, run)
        return partial if several else max(full, partial)
    graph = memory.compute_bytes(shape, run, load.device)
    return graph + (memory.pipeline_bytes(shape, run) if several else 0)


def graph_bytes(shape: Architecture, run: Run) -> tuple[int, int]:
    """Return (full, partial) graph sizes as Ollama 0.9.3 estimates them (fs/ggml/ggml.go)."""
    c, b = run.context_total, min(run.context_total, run.num_batch)
    e, v, h, hk = shape.embedding_length, shape.vocab_size, shape.head_count, shape.head_count_kv
    d = e // h
    logits = 4 * b * (e + v) + e * v * 105 // 128
    if shape.name == "qwen2":
        full = max(4 * b * (e + v), 4 * b * (1 + 2 * e + c + c * h))
        return full, max(logits, 4 * (b * (1 + 2 * e + c * (1 + h)) + e * (1 + c)))
    if shape.name == "llama":
        full = max(4 * b * (1 + 4 * e + c * (1 + h)), 4 * b * (e + v))
        scores = 4 * b * (1 + e + max(c, e)) + e * e * 9 // 16 + 4 * c * (b * h + d * hk)
        return full, 4 * b * e + max(scores, logits)
    if shape.name == "deepseek2":
        dk = shape.key_length
        full = max(4 * b * (3 * e + v), 4 * b * (3 * e + 2 + c * (1 + hk) + 2 * dk * hk))
        wide = (
            4 * b * (2 * e + 1 + 2 * dk * hk + c + c * hk) + 4 * dk * c * hk + e * dk * hk * 9 // 16
        )
        return full, max(4 * b * (3 * e + v) + e * v * 105 // 128, wide)
    kv = sum(memory.kv_by_layer(shape, run))
    partial = (h // max(1, hk)) * kv // 6
    return partial, partial
