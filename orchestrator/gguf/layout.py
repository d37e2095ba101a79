"""The tensors of a file and the bytes of its parts, by architecture, quantization and build."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import prod
from typing import NamedTuple

from orchestrator.gguf.deviations import deviation
from orchestrator.gguf.mixture import LayerTypes, Mixture
from orchestrator.gguf.tensors import (
    EXPERTS,
    Block,
    Slot,
    block_slots,
    blocks,
    draft_block,
    draft_end_slots,
    end_slots,
)
from orchestrator.gguf.types import Tensor, stored_bytes
from orchestrator.gguf.vision import vision_slots
from orchestrator.model import DEFAULT_RULE, Architecture, Weights


def layout(shape: Architecture, quantization: str, rule: str = DEFAULT_RULE) -> tuple[Tensor, ...]:
    """Return the tensors of the file that this architecture makes at a quantization.

    `rule` names the kind of build (orchestrator.gguf.deviations). Raises InvalidInput: an
    architecture, a quantization or a rule that is not known, by name.
    """
    return tuple(_tensors(_mixture(shape, quantization, rule)))


def _mixture(shape: Architecture, quantization: str, rule: str) -> Mixture:
    return Mixture(shape, quantization, deviation(rule))


def _tensors(mixture: Mixture) -> Iterator[Tensor]:
    shape = mixture.shape
    for slot in end_slots(shape):
        yield _tensor("", slot, mixture.end_type(slot))
    for i, block in enumerate(blocks(shape)):
        types = mixture.layer(i)
        for slot in block_slots(shape, block):
            yield _tensor(f"blk.{i}.", slot, mixture.type_of(slot, types))
    for i in range(shape.draft_block_count):
        for slot, kind in _draft(mixture, i):
            yield _tensor(f"blk.{shape.block_count + i}.", slot, kind)
    for slot in vision_slots(shape):
        yield _tensor("", slot, mixture.vision_type(slot))


def _tensor(prefix: str, slot: Slot, kind: str) -> Tensor:
    return Tensor(name=prefix + slot.name, type=kind, shape=slot.shape)


def _draft(mixture: Mixture, index: int) -> Iterator[tuple[Slot, str]]:
    shape = mixture.shape
    types = mixture.layer(shape.block_count + index)
    for slot in (*block_slots(shape, draft_block(shape)), *draft_end_slots(shape)):
        yield slot, mixture.type_of(slot, types, draft=True)


@lru_cache(maxsize=2048)
def laid_out(shape: Architecture, quantization: str, rule: str = DEFAULT_RULE) -> Weights:
    """Return the bytes of every part of the layout; what `layout` lists, summed.

    Layers of one kind are counted once: a plan asks this of hundreds of files.
    """
    mixture = _mixture(shape, quantization, rule)
    known: dict[tuple[Block, LayerTypes], _Layer] = {}
    layers = []
    for i, block in enumerate(blocks(shape)):
        types = mixture.layer(i)
        layer = known.get((block, types))
        if layer is None:
            typed = [(s, mixture.type_of(s, types)) for s in block_slots(shape, block)]
            layer = known[block, types] = _layer(typed)
        layers.append(layer)
    table, *ends = ((slot, mixture.end_type(slot)) for slot in end_slots(shape))
    embedding, output = _sum([table]), _sum(ends)
    draft = sum(_sum(_draft(mixture, i)) for i in range(shape.draft_block_count))
    vision = _sum((slot, mixture.vision_type(slot)) for slot in vision_slots(shape))
    return Weights(
        total_bytes=sum([layer.size for layer in layers]) + embedding + output + draft + vision,
        embedding_bytes=embedding,
        output_bytes=output,
        per_layer_bytes=tuple([layer.size for layer in layers]),
        basis="layout",
        expert_layer_bytes=tuple([sum(e.experts) for e in layers]) if shape.expert_count else (),
        largest_expert_bytes=max([max(e.experts, default=0) for e in layers]),
        draft_bytes=draft,
        vision_bytes=vision,
    )


class _Layer(NamedTuple):
    """Bytes of a layer, and those of each tensor of experts in it."""

    size: int
    experts: tuple[int, ...]


def _layer(typed: list[tuple[Slot, str]]) -> _Layer:
    experts = [pair for pair in typed if pair[0].name.endswith(EXPERTS)]
    return _Layer(_sum(typed), tuple(_sum([pair]) for pair in experts))


def _sum(typed: Iterable[tuple[Slot, str]]) -> int:
    return sum([stored_bytes(kind, prod(slot.shape)) for slot, kind in typed])
