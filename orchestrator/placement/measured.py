"""The measured era: sizes from trial allocations, packed on few cards (llm/server.go to 0.24).

Models of llama.cpp's runner go through the same layout, but with the formula's sizes and one layer
more as a buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator import compute
from orchestrator.engine import Engine
from orchestrator.placement.estimated import minimum_bytes
from orchestrator.placement.formulas import counted_cache, graph_bytes
from orchestrator.placement.load import Card, Load, Share, contiguous

_STEPS = 20  # halvings of the capacity, to one part in a million
_TRIES = 32


def shares(load: Load, cards: Sequence[Card]) -> tuple[Share, ...]:
    """Return what each card gets; none where no layer finds room."""
    ordered = sorted(cards, key=lambda c: c.free_bytes, reverse=True)
    counts = _trials(load, ordered) if load.engine is Engine.OLLAMA else _reckoned(load, ordered)
    # Slices of layers lie in the order of the cards: the one filled first, with the last layers,
    # comes last.
    return contiguous(load, ordered, counts)


@dataclass(frozen=True)
class _Layout:
    """The rule that hands layers out: sizes of the layers, the output last, and room on cards."""

    sizes: list[int]
    free: list[int]
    first_cards: list[bool]  # whether a card is of its own memory: those are filled first
    spread: bool

    def counts(self, graphs: Sequence[int]) -> list[int]:
        """Return the layers of each card while so much is set aside there for graphs."""
        room = [max(0, free - graph) for free, graph in zip(self.free, graphs, strict=True)]
        used = max((i for i, graph in enumerate(graphs) if graph), default=0)
        found = [0] * len(room)
        for sizes in (self.sizes, self.sizes[:-1]):  # the output stays behind before a layer does
            few = range(len(room), len(room) + 1) if self.spread else range(used + 1, len(room) + 1)
            for n in few:
                if n < len(room) and not self._hold_all(sizes, room[:n]):
                    continue  # less than all is taken of all cards only
                found = self._best(sizes, room[:n]) + [0] * (len(room) - n)
                if sum(found) == len(sizes):
                    break
            if sum(found) == len(self.sizes):
                return found
        return found

    def _hold_all(self, sizes: list[int], room: list[int]) -> bool:
        left = len(sizes)
        if sum(room) < sum(sizes):
            return False
        for kind in dict.fromkeys(self.first_cards[: len(room)]):
            places = [r for r, own in zip(room, self.first_cards, strict=False) if own is kind]
            left -= sum(_greedy(sizes[:left], places, 1.0))
        return not left

    def _best(self, sizes: list[int], room: list[int]) -> list[int]:
        """Return the most layers, as evenly as they fit; cards of their own memory come first."""
        kinds = list(dict.fromkeys(self.first_cards[: len(room)]))
        result, left = [0] * len(room), list(sizes)
        for kind in kinds:
            places = [i for i in range(len(room)) if self.first_cards[i] is kind]
            counts = _balanced(left, [room[i] for i in places])
            for i, n in zip(places, counts, strict=True):
                result[i] = n
            left = left[: len(left) - sum(counts)]
        return result


def _balanced(sizes: list[int], room: list[int]) -> list[int]:
    """Return the counts at the least share of every card's room that still takes as many layers."""
    best = _greedy(sizes, room, 1.0)
    most, low, high = sum(best), 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        tried = _greedy(sizes, room, middle)
        if sum(tried) == most:
            best, high = tried, middle
        else:
            low = middle
    return best


def _greedy(sizes: list[int], room: list[int], capacity: float) -> list[int]:
    """Fill from the last layer and the last card on; a card that is full is left for good."""
    counts = [0] * len(room)
    card = len(room) - 1
    free = room[card] * capacity
    for size in reversed(sizes):
        while size > free:
            card -= 1
            if card < 0:
                return counts
            free = room[card] * capacity
        free -= size
        counts[card] += 1
    return counts


def _free(load: Load, cards: Sequence[Card]) -> list[int]:
    version = load.run.version
    return [max(0, c.free_bytes - minimum_bytes(c, version) - load.overhead_bytes) for c in cards]


def _reckoned(load: Load, cards: Sequence[Card]) -> list[int]:
    """llama.cpp's runner: sizes and graphs of the formula, one layer more as a buffer."""
    cache = counted_cache(load.shape, load.run)
    sizes = [w + k for w, k in zip(load.weights.per_layer_bytes, cache, strict=True)]
    layout = _layout(load, cards, [*sizes, load.output_bytes], aside=sizes[0])
    full, partial = graph_bytes(load.shape, load.run)
    graph = full if cards and cards[0].metal else max(full, partial)
    graphs, counts = [0] * len(cards), [0] * len(cards)
    for _ in range(_TRIES):
        before, counts = counts, layout.counts(graphs)
        if sum(map(bool, counts)) <= sum(map(bool, before)):
            break
        graphs = [graph if n or g else 0 for n, g in zip(counts, graphs, strict=True)]
    return counts


def _trials(load: Load, cards: Sequence[Card]) -> list[int]:
    """Ollama's own engine: allocate, see the graphs, lay out anew until nothing changes."""
    layout = _layout(load, cards, [*load.layer_bytes, load.output_bytes], aside=0)
    counts = layout.counts([0] * len(cards))
    seen: set[tuple[int, ...]] = set()
    for _ in range(_TRIES):
        seen.add(tuple(counts))
        found = layout.counts(_graphs(load, counts))
        if tuple(found) not in seen and sum(found) <= sum(counts):
            counts = found
            continue
        return _between(layout, load, counts, sum(found))
    return counts


def _between(layout: _Layout, load: Load, counts: list[int], most: int) -> list[int]:
    """Where the output's graph makes the layout swing, take the most layers that still hold."""
    for wanted in range(most - 1, sum(counts), -1):
        forced = replace(layout, sizes=layout.sizes[:-1][-wanted:])
        tried = forced.counts(_graphs(load, counts))
        if sum(tried) == wanted and sum(layout.counts(_graphs(load, tried))) >= wanted:
            return tried
    return counts


def _graphs(load: Load, counts: Sequence[int]) -> list[int]:
    """Return the compute buffer of each card that holds layers."""
    several = sum(map(bool, counts)) > 1
    each = compute.card_bytes(load.shape, load.run, load.device, several=several)
    return [each if n else 0 for n in counts]


def _layout(load: Load, cards: Sequence[Card], sizes: list[int], *, aside: int) -> _Layout:
    free = [max(0, f - aside) for f in _free(load, cards)]
    return _Layout(
        sizes=sizes,
        free=free,
        first_cards=[not c.unified for c in cards],
        spread=load.spread,
    )
