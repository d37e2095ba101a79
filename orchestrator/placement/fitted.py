"""The llama-server era: llama.cpp fits the layers by itself (common/fit.cpp, 0.30 and later).

Ollama hands over one card where what it predicts is at most four fifths of that card, else all.
llama.cpp changes nothing while every card keeps its margin. Otherwise it fills the cards from the
last one with whole layers from the last one on. Of a mixture of experts it first places everything
but the experts, then whole layers from the first card on.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from orchestrator import compute, memory
from orchestrator.placement.load import Card, Load, Share, contiguous
from orchestrator.units import MIB

_MARGIN_BYTES = 1024 * MIB
_ALONE_SHARE = 0.8  # of a card's free memory: up to there a model is put on that card alone


def server_bytes(load: Load) -> int:
    """Return what Ollama from 0.30 on predicts, to decide whether one card will do."""
    shape, width = load.shape, load.shape.embedding_length // load.shape.head_count
    hybrid = shape.attention_layers < shape.block_count  # the fewest heads of any layer count
    heads = 1 if hybrid else shape.head_count_kv
    cache = 4 * shape.block_count * heads * width * load.run.context_total
    return load.weights.total_bytes + cache


def handed_over(load: Load, cards: Sequence[Card]) -> list[Card]:
    """Return the cards that Ollama lets llama-server see."""
    if load.spread or len(cards) < 2:
        return list(cards)
    best = max(cards, key=lambda c: (not c.unified, c.free_bytes))
    return [best] if server_bytes(load) <= _ALONE_SHARE * best.free_bytes else list(cards)


def shares(load: Load, cards: Sequence[Card]) -> tuple[Share, ...]:
    """Return what each card gets; none where no layer finds room."""
    seen = handed_over(load, cards)
    return _Fit(load, seen).shares() if seen else ()


class _Fit:
    """llama.cpp's search, with our sizes in place of its trial allocations."""

    def __init__(self, load: Load, cards: list[Card]) -> None:
        self.load = load
        self.cards = cards
        margin = _MARGIN_BYTES if load.fit_target_bytes is None else load.fit_target_bytes
        # llama.cpp looks at what is free when its own driver context is there already.
        self.target = [
            c.free_bytes - margin - (0 if c.metal else memory.DRIVER_CONTEXT_BYTES) for c in cards
        ]
        self.blocks = load.shape.block_count
        self.full = [*load.layer_bytes, load.output_bytes]
        experts = [*(load.weights.expert_layer_bytes or (0,) * self.blocks), 0]
        self.bare = [size - e for size, e in zip(self.full, experts, strict=True)]

    def shares(self) -> tuple[Share, ...]:
        split = self._by_free_memory()
        if self._keeps(split):
            return contiguous(self.load, self.cards, split)
        if not self.load.weights.expert_layer_bytes:
            return contiguous(self.load, self.cards, self._filled())
        bare = self._back_to_front(self.bare, self._graph(parted=True))
        if sum(bare) <= self.blocks:
            return self._all_bare(bare)
        return self._experts_moved_in(bare)

    def _filled(self) -> list[int]:
        """Return the layers of each card of a model without experts.

        All of them on several cards need copies in flight; less than all, a part of the host's.
        """
        whole = self._back_to_front(self.full, self._graph(several=len(self.cards) > 1))
        if sum(whole) > self.blocks:
            return whole
        return self._back_to_front(self.full, self._graph(parted=True), most=self.blocks)

    def _graph(self, *, several: bool = False, parted: bool = False) -> int:
        """Compute buffer of a card; `parted`: some layers, or their experts, are on the host."""
        load = self.load
        graph = compute.card_bytes(load.shape, load.run, load.device, several=several)
        if not parted:
            return graph
        return graph + compute.borrowed_bytes(load.shape, load.run, load.weights, load.device)

    def _by_free_memory(self) -> list[int]:
        """llama.cpp's default split: layers in proportion to free memory."""
        total = sum(c.free_bytes for c in self.cards) or 1
        ends = [
            -(-part * (self.blocks + 1) // total)
            for part in accumulate(c.free_bytes for c in self.cards)
        ]
        return [end - start for start, end in zip([0, *ends], ends, strict=False)]

    def _keeps(self, counts: list[int]) -> bool:
        """Whether every card keeps its margin under this split of all layers."""
        graph = self._graph(several=sum(map(bool, counts)) > 1)
        first = 0
        for n, target in zip(counts, self.target, strict=True):
            if sum(self.full[first : first + n]) + (graph if n else 0) > target:
                return False
            first += n
        return True

    def _back_to_front(self, sizes: list[int], graph: int, *, most: int | None = None) -> list[int]:
        """Fill the last card with the last layers, then the one before it."""
        counts = [0] * len(self.cards)
        left = len(sizes)
        end = 0 if most is None else left - most
        for card in range(len(self.cards) - 1, -1, -1):
            room = self.target[card] - graph
            while left > end and sizes[left - 1] <= room:
                left -= 1
                room -= sizes[left]
                counts[card] += 1
        return counts

    def _all_bare(self, counts: list[int]) -> tuple[Share, ...]:
        """Not even all layers without their experts fit: those that do, have none on cards."""
        shares = contiguous(self.load, self.cards, counts)
        return tuple(replace(share, expert_layers=share.layers) for share in shares)

    def _experts_moved_in(self, bare: list[int]) -> tuple[Share, ...]:
        """Make layers whole, from the first card on, until every card is full."""
        last = len(self.cards) - 1
        parts = [n - (card == last) for card, n in enumerate(bare)]
        whole, first = [0] * len(parts), 0
        for card in range(len(parts)):
            if any(parts[:card]):
                break
            whole[card] = self._whole(parts, card, first)
            first += whole[card]
            _take(parts, whole[card])
        return tuple(
            Share(
                index=self.cards[card].index,
                layers=whole[card] + parts[card],
                output=card == last,
                expert_layers=parts[card],
            )
            for card in range(len(parts))
            if whole[card] or parts[card] or card == last
        )

    def _whole(self, parts: list[int], card: int, first: int) -> int:
        """Return how many layers fit whole on a card, beside the bare ones that it keeps."""
        room = self.target[card] - self._graph(parted=True)
        room -= self.full[self.blocks] if card == len(parts) - 1 else 0
        for n in range(sum(parts), 0, -1):
            kept = max(0, parts[card] - n)
            after = first + n
            if sum(self.full[first:after]) + sum(self.bare[after : after + kept]) <= room:
                return n
        return 0


def _take(parts: list[int], count: int) -> None:
    """Take so many bare layers away, from the first card that has some."""
    for card, n in enumerate(parts):
        taken = min(n, count)
        parts[card] -= taken
        count -= taken
