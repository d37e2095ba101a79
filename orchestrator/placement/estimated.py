"""The estimate era: a formula over the header decides (llm/memory.go, 0.3.14 to 0.12.10).

A card alone is tried before all together, from 0.11.5 on as few as hold all. Each card keeps a
minimum, its graph and one layer more as a buffer; layers go round among the cards that still have
room, and the output comes last.
"""

from collections.abc import Sequence

from orchestrator.era import ServerVersion
from orchestrator.placement.formulas import counted_cache, graph_bytes
from orchestrator.placement.load import Card, Load, Share, contiguous
from orchestrator.units import MIB

MINIMUM_BYTES, METAL_MINIMUM_BYTES = 457 * MIB, 512 * MIB
# Between these two Metal came without its minimum (seen at 0.12.6; 0.11.6 and 0.13 count it).
_METAL_BARE = (ServerVersion((0, 12, 4)), ServerVersion((0, 12, 7)))
_FEWEST_CARDS = ServerVersion((0, 11, 5))  # before: each alone, then all
_LAST_LAYER_FIRST = ServerVersion((0, 7, 0))
_LARGEST_AS_BUFFER = ServerVersion((0, 7, 0))  # of that one release; otherwise the first layer


def minimum_bytes(card: Card, version: ServerVersion) -> int:
    """Return what the server leaves free on a card for the driver."""
    if not card.metal:
        return MINIMUM_BYTES
    return 0 if _METAL_BARE[0] <= version < _METAL_BARE[1] else METAL_MINIMUM_BYTES


def shares(load: Load, cards: Sequence[Card]) -> tuple[Share, ...]:
    """Return what each card gets: of one card if all fits there, of all otherwise."""
    ordered = sorted(cards, key=lambda c: c.free_bytes, reverse=True)
    for group in _groups(load, ordered):
        counts = _Filling(load, group).counts()
        if sum(counts) > load.shape.block_count:
            return contiguous(load, group, counts)
    return contiguous(load, cards, _Filling(load, cards).counts())


def _groups(load: Load, ordered: list[Card]) -> list[list[Card]]:
    """Return the sets of cards that are tried to hold all layers."""
    if load.spread:
        return [ordered]
    if load.run.version >= _FEWEST_CARDS:
        return [ordered[:n] for n in range(1, len(ordered) + 1)]
    return [*([card] for card in ordered), ordered]


class _Filling:
    """One run of the formula over a set of cards."""

    def __init__(self, load: Load, cards: Sequence[Card]) -> None:
        self.load = load
        self.cards = cards
        self.version = load.run.version
        cache = counted_cache(load.shape, load.run)
        weights = load.weights.per_layer_bytes
        self.sizes = [w + k for w, k in zip(weights, cache, strict=True)]
        full, partial = graph_bytes(load.shape, load.run)
        if cards and cards[0].metal:
            partial = full
        self.graph = partial if len(cards) > 1 else max(full, partial)
        self.buffer = self.sizes[0]
        if self.version == _LARGEST_AS_BUFFER:
            self.buffer = max(*weights, load.output_bytes) + cache[0]

    def counts(self) -> list[int]:
        """Return the layers of each card, the output layer counted."""
        room = [self._room(card) for card in self.cards]
        open_cards = [i for i, free in enumerate(room) if free >= 2 * self.buffer]
        for i in open_cards:
            room[i] -= self.buffer
        counts = [0] * len(self.cards)
        self._layers(room, open_cards, counts)
        self._output(room, open_cards, counts)
        return counts

    def _room(self, card: Card) -> int:
        aside = minimum_bytes(card, self.version) + self.load.overhead_bytes + self.graph
        return card.free_bytes - aside

    def _layers(self, room: list[int], open_cards: list[int], counts: list[int]) -> None:
        order = range(len(self.sizes))
        for layer in reversed(order) if self.version >= _LAST_LAYER_FIRST else order:
            while open_cards:
                at = layer % len(open_cards)
                card = open_cards[at]
                if room[card] > self.sizes[layer]:
                    room[card] -= self.sizes[layer]
                    counts[card] += 1
                    break
                del open_cards[at]

    def _output(self, room: list[int], open_cards: list[int], counts: list[int]) -> None:
        placed = sum(counts)
        for among in range(len(open_cards), 0, -1):
            card = open_cards[placed % among]
            if room[card] > self.load.output_bytes:
                counts[card] += 1
                return
