"""What an Ollama version will do with a model on given cards: how many layers go where.

Facts: llm/memory.go from 0.3.14 to 0.12.10, llm/server.go to 0.24, llama.cpp's common/fit.cpp and
server/sched.go from 0.30 on, each read at every release.
"""

from collections.abc import Sequence
from itertools import accumulate

from orchestrator.era import Era
from orchestrator.placement import estimated, fitted, measured
from orchestrator.placement.batch import batched
from orchestrator.placement.fitted import server_bytes
from orchestrator.placement.load import Card, Kind, Load, Placement, Share, contiguous, everywhere

__all__ = [
    "Card",
    "Kind",
    "Load",
    "Placement",
    "Share",
    "batched",
    "contiguous",
    "everywhere",
    "forced",
    "place",
    "server_bytes",
]

_RULES = {
    Era.ESTIMATE: estimated.shares,
    Era.MEASURED: measured.shares,
    Era.LLAMA_SERVER: fitted.shares,
}


def place(load: Load, cards: Sequence[Card]) -> Placement:
    """Return what the server of `load.run.version` does on these cards."""
    return Placement(
        shares=_RULES[load.placed_by](load, cards) if cards else (),
        total_layers=load.shape.layers,
    )


def forced(load: Load, cards: Sequence[Card], layers: int) -> Placement:
    """Return where so many layers go that somebody asked for (num_gpu), whatever fits.

    Before 0.30, where the server would take as many by itself, as it would; else by free memory.
    """
    wanted = min(layers, load.shape.layers)
    if len(cards) == 1:
        return everywhere(load, cards[0].index, wanted)
    if load.placed_by is not Era.LLAMA_SERVER:
        by_itself = place(load, cards)
        if by_itself.gpu_layers == wanted:
            return by_itself
    total = sum(c.free_bytes for c in cards) or 1
    ends = [-(-part * wanted // total) for part in accumulate(c.free_bytes for c in cards)]
    counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return Placement(shares=contiguous(load, cards, counts), total_layers=load.shape.layers)
