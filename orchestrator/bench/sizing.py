"""The sizes of a measurement: the largest shapes that the time and the context have room for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.bench.calibration import Calibration
from orchestrator.bench.effort import EFFORTS, Effort
from orchestrator.bench.workload import DEEP_FACTOR, Cell, Workload
from orchestrator.errors import InvalidInput
from orchestrator.units import duration

# (prompt, generated) tokens, rising. 16 generated tokens are the fewest that give a rate at all:
# the first one belongs to prefill, and a rate over 15 intervals still resolves 1 %.
_SHAPES = ((32, 16), (32, 32), (64, 64), (128, 64), (256, 64), (512, 128))
_REQUEST_OVERHEAD_S = 0.05
_FEWEST_BESIDE = 3
_FILLED_SHARE = 0.92
_FILL_TOKENS = 16
_FILL_BUDGET_SHARE = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Tokens a second, as known before measuring. Raises InvalidInput: one is not positive."""

    prefill_tps: float
    decode_tps: float

    def __post_init__(self) -> None:
        if min(self.prefill_tps, self.decode_tps) <= 0:
            raise InvalidInput(
                f"rates must be positive, not {self.prefill_tps} and {self.decode_tps}"
            )

    def request_s(self, prompt_tokens: int, generate_tokens: int) -> float:
        """Return how long a request should take."""
        prefill_s, decode_s = prompt_tokens / self.prefill_tps, generate_tokens / self.decode_tps
        return prefill_s + decode_s + _REQUEST_OVERHEAD_S


def sized(
    *,
    prefill_tps: float,
    decode_tps: float,
    num_ctx: int,
    calibration: Calibration,
    effort: Effort = EFFORTS["validate"],
    budget_s: float | None = None,
    like: tuple[int, int] | None = None,
) -> Workload:
    """Return the largest main shape whose warm-up and fewest samples take at most its share of the
    budget, with as many samples as the rest of it allows, and what else finds room.

    Rates in tokens/s, as known before measuring. `like` is the main shape of earlier runs: it is
    taken again where it takes no more than twice that share, since only like shapes compare.
    Raises InvalidInput: not even the smallest shape fits the context; a rate is not positive.
    """
    rates = Rates(prefill_tps=prefill_tps, decode_tps=decode_tps)
    whole = effort.budget_s if budget_s is None else budget_s
    budget = effort.share * whole

    def plan(prompt_tokens: int, generate_tokens: int) -> Workload:
        return Workload(
            prompt_tokens=prompt_tokens,
            generate_tokens=generate_tokens,
            samples=effort.min_samples,
            reruns=effort.reruns,
            request_s=rates.request_s(prompt_tokens, generate_tokens),
            calibration=calibration,
        )

    least = effort.smallest
    best = _largest(
        [plan(pp, tg) for pp, tg in _SHAPES if pp >= least[0] and tg >= least[1]], num_ctx, budget
    )
    before = plan(*like) if like else best
    if before.room(before.main) <= num_ctx and before.expected_s <= min(2 * budget, whole):
        best = before
    best.check(num_ctx)
    affordable = int(budget / best.request_s) - best.warmups
    best = best.repeated(max(effort.min_samples, min(effort.max_samples, affordable)))
    return _extended(best, effort, rates, num_ctx, whole)


def _extended(
    plan: Workload, effort: Effort, rates: Rates, num_ctx: int, budget_s: float
) -> Workload:
    """Return the plan with the shapes beside it and the filling that find room."""
    left_s = (1 - effort.share) / 2 * budget_s
    cells: list[Cell] = []
    left_out: list[str] = []
    for depth in effort.depths:
        if depth == plan.prompt_tokens:
            continue
        cell = _beside(plan, depth, rates, left_s)
        if plan.room(cell) > num_ctx:
            left_out.append(f"prompts of {depth} tokens: the context has {num_ctx}")
        elif cell.samples < _FEWEST_BESIDE:
            left_out.append(f"prompts of {depth} tokens: about {duration(cell.request_s)} each")
        else:
            cells.append(cell)
            left_s -= cell.request_s * (plan.warmups + cell.samples)
    plan = replace(plan, beside=tuple(cells), left_out=tuple(left_out))
    if effort.fill == "no":
        return plan
    limit_s = math.inf if effort.fill == "always" else _FILL_BUDGET_SHARE * budget_s
    return replace(plan, fill=_filling(plan, rates, num_ctx), fill_limit_s=limit_s)


def _beside(plan: Workload, depth: int, rates: Rates, left_s: float) -> Cell:
    each_s = rates.request_s(depth, plan.generate_tokens)
    return Cell(
        prompt_tokens=depth,
        generate_tokens=plan.generate_tokens,
        samples=min(plan.samples, int(left_s / each_s) - plan.warmups),
        request_s=each_s,
    )


def _filling(plan: Workload, rates: Rates, num_ctx: int) -> Cell | None:
    """Return the request that fills the context; None: a request of the rounds does already."""
    tokens = int(_FILLED_SHARE * num_ctx / plan.margin) - _FILL_TOKENS
    if tokens <= max(c.prompt_tokens for c in plan.cells):
        return None
    request_s = DEEP_FACTOR * rates.request_s(tokens, _FILL_TOKENS)
    return Cell(prompt_tokens=tokens, generate_tokens=_FILL_TOKENS, samples=1, request_s=request_s)


def _largest(plans: Sequence[Workload], num_ctx: int, budget_s: float) -> Workload:
    """Return the last of rising plans that fits context and budget, else the first."""
    first, *larger = plans
    best = first
    for plan in larger:
        try:
            plan.check(num_ctx)
        except InvalidInput:
            break
        if plan.expected_s > budget_s:
            break
        best = plan
    return best
