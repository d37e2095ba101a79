"""How much a measurement may take, and what it has room for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SHALLOW = 32
"""Prompt tokens of the decode rate that is told as the one without depth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much a measurement may take: `samples` wanted, seconds that the sizing aims at.

    `smallest` is the shortest (prompt, generated) shape, used even where it exceeds the budget.
    `reruns` is how many rounds may be added for noisy and rejected samples. The main shape gets
    `share` of the budget; the rest is for `depths` (prompts of other lengths), for filling the
    context, for `loads` (cold ones), for `users` at once and for `chats` of a thinking model.
    """

    budget_s: float
    min_samples: int
    max_samples: int
    smallest: tuple[int, int]
    reruns: int = 0
    share: float = 1.0
    depths: tuple[int, ...] = ()
    fill: Literal["no", "fits", "always"] = "no"
    loads: int = 1
    users: tuple[int, ...] = ()
    chats: int = 0


EFFORTS: Mapping[str, Effort] = {
    # What `deploy auto` does after every load: below a minute even on two slow cores.
    "validate": Effort(budget_s=45, min_samples=3, max_samples=5, smallest=(32, 16)),
    "quick": Effort(
        budget_s=60,
        min_samples=5,
        max_samples=5,
        smallest=(32, 32),
        reruns=5,
        share=0.6,
        fill="fits",
        loads=2,
    ),
    # After a suspicion, at once: the main shape alone.
    "again": Effort(budget_s=600, min_samples=5, max_samples=10, smallest=(32, 16), reruns=5),
    "default": Effort(
        budget_s=600,
        min_samples=10,
        max_samples=10,
        smallest=(64, 64),
        reruns=10,
        share=0.4,
        depths=(SHALLOW, 2048),
        fill="fits",
        loads=3,
        users=(1, 2, 4),
        chats=3,
    ),
    "full": Effort(
        budget_s=3600,
        min_samples=10,
        max_samples=20,
        smallest=(64, 64),
        reruns=20,
        share=0.25,
        depths=(SHALLOW, 2048, 8192, 32768),
        fill="always",
        loads=5,
        users=(1, 2, 4, 8),
        chats=5,
    ),
}
