"""The batch that Ollama from 0.30 on chooses where nobody set num_batch (server/sched.go)."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.engine import Engine
from orchestrator.placement.fitted import handed_over, server_bytes
from orchestrator.placement.load import Card, Load
from orchestrator.units import GIB, MIB

_DEFAULT, _MEDIUM, _LARGE = 512, 1024, 2048
_CONSTRAINED = 256  # CUDA without flash attention, a long context, and a small card
_SMALL_CARD_BYTES = 8 * GIB
_CONTEXT_MEDIUM, _CONTEXT_LARGE = 4096, 32_768
_MOST_SHARE = 0.8
_HEADROOM = {_MEDIUM: 0.75, _LARGE: 0.6}
_SURCHARGE_BYTES = {_MEDIUM: 768 * MIB, _LARGE: 2 * GIB}


def batched(load: Load, cards: Sequence[Card]) -> Load:
    """Return the load with the batch that its server chooses; on a CPU by the context alone."""
    batch = _automatic(load, cards)
    return replace(load, run=replace(load.run, num_batch=batch))


def _automatic(load: Load, cards: Sequence[Card]) -> int:
    if load.engine is not Engine.LLAMA_SERVER:
        return _DEFAULT
    context, seen = load.run.context_total, handed_over(load, cards)
    if seen and seen[0].cuda and not load.run.flash_attention:
        small = any(c.free_bytes <= _SMALL_CARD_BYTES for c in seen)
        return _CONSTRAINED if small and context > _CONTEXT_MEDIUM else _DEFAULT
    free = sum(c.free_bytes for c in seen)
    wished = _LARGE if context > _CONTEXT_LARGE else _MEDIUM
    if context <= _CONTEXT_MEDIUM:
        return _DEFAULT
    fitting = (b for b in (_LARGE, _MEDIUM) if b <= wished and _fits(b, server_bytes(load), free))
    return next(fitting, _DEFAULT)


def _fits(batch: int, predicted: int, free: int) -> bool:
    if not free:
        return True
    if predicted > _HEADROOM[batch] * free:
        return False
    return _SURCHARGE_BYTES[batch] <= _MOST_SHARE * free - predicted
