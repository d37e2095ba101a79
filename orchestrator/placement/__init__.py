"""What an Ollama version will do with a model on given cards: how many layers go where.

Facts: llm/memory.go from 0.3.14 to 0.12.10, llm/server.go to 0.24, llama.cpp's common/fit.cpp and
server/sched.go from 0.30 on, each read at every release.
"""

from collections.abc import Sequence

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
