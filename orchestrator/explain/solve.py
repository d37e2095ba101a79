"""How far a model reaches on a machine: the largest context and the most slots that still fit.

Found by bisection over the plan's own judgement, so that the answer fits and one step more does
not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.explain.case import Answer, Case

STEP_TOKENS = 256
"""llama.cpp pads the cache to whole blocks of this many tokens."""
MOST_SLOTS = 256
"""Sequences that llama.cpp takes at a time (LLAMA_MAX_SEQ in llama-cparams.h)."""
# Need is not quite monotonic: before 0.30 the compute buffer shrinks at some contexts, where a
# freed mask makes room for one more feed-forward tensor. So far above the first answer is looked.
_AHEAD_TOKENS = 16 * STEP_TOKENS

Cap = Literal["memory", "speed", "trained", "server", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """The most that fits (0: nothing), what bounds it, and what one step more would lack."""

    most: int
    cap: Cap
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the explanation's `limits`."""
        return {"most": self.most, "cap": self.cap, "detail": self.detail}


def largest_context(case: Case) -> Limit:
    """Return the most tokens a slot that fit in the placement that the case has now."""
    held = case.held(case.answer())
    trained = case.candidate.architecture.context_length

    def tokens(steps: int) -> int:
        return min(steps * STEP_TOKENS, trained)

    def answer(steps: int) -> Answer:
        return held.at_context(tokens(steps)).answer()

    steps = -(-trained // STEP_TOKENS)
    last = last_that(lambda n: answer(n).fits, steps, _AHEAD_TOKENS // STEP_TOKENS)
    if last == steps:
        return Limit(most=trained, cap="trained", detail=f"it was trained for {trained} tokens")
    where = f"at {tokens(last + 1)} tokens"
    return _bounded(tokens(last), where, held, answer(last + 1))


def most_slots(case: Case) -> Limit:
    """Return the most slots that fit at the context and in the placement of the case."""
    found = case.answer()
    context = found.fit.estimate.load.run.context
    held = case.held(found).at_context(context)
    ahead = min(MOST_SLOTS, max(1, _AHEAD_TOKENS // context))

    def answer(slots: int) -> Answer:
        return held.at_slots(slots).answer()

    last = last_that(lambda n: answer(n).fits and _slots(answer(n)) == n, MOST_SLOTS, ahead)
    if last == MOST_SLOTS:
        return Limit(most=last, cap="server", detail=f"llama.cpp takes {last} sequences at most")
    where = f"with {last + 1} slot{'s' if last else ''}"
    return _bounded(last, where, held, answer(last + 1))


def last_that(fits: Callable[[int], bool], most: int, ahead: int) -> int:
    """Return a number up to `most` that fits while none of the next `ahead` does; 0 for none."""
    if fits(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    further: int | None = low
    while further is not None:
        low = further
        window = range(min(low + ahead, most - 1), low, -1)
        further = next((n for n in window if fits(n)), None)
    return low


def _slots(answer: Answer) -> int:
    return answer.fit.estimate.load.run.parallel


def _bounded(most: int, where: str, held: Case, beyond: Answer) -> Limit:
    """Say what the next step lacks."""
    if beyond.fits:  # with fewer slots than were asked for
        reason = beyond.fit.estimate.requested["parallel"]["reason"]
        return Limit(most=most, cap="server", detail=reason)
    if beyond.rejection is None:
        return Limit(most=most, cap="speed", detail=f"{where}: {beyond.warnings[-1]}")
    reason, detail = beyond.rejection.reason, beyond.rejection.detail
    cap: Cap = "other"
    if reason == "memory":
        cap = "memory"
        if held.profile.placement == "split" and beyond.fit.placement.kind == "cpu":
            detail = "the server would leave no layer on GPU"
    elif reason in ("speed", "speed_unknown"):
        cap = "speed"
    return Limit(most=most, cap=cap, detail=f"{where}: {detail}")
