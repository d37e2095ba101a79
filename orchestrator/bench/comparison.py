"""A bench document against earlier ones of the same key: which rates moved, and what to say. Pure.

Two runs may be compared when nothing that decides speed differs between them but the box's mood:
weights, quantization, server, runtime, machine, options, slots, KV cache.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.bench import regression
from orchestrator.bench.regression import LEAST_RUNS, MOST_RUNS, ONE, SLOW, Run, Shift

Document = Mapping[str, Any]
Shape = tuple[int, int]
"""Tokens of the prompt, and tokens to generate."""
Name = Literal["decode_tps", "prefill_tps"]
Baseline = Literal["rolling", "pinned", "run"]
Outcome = Literal[
    "unknown", "same", "better", "suspected", "regressed", "inconclusive", "not_comparable"
]

QUIET_SHARE = 0.6
"""Of the samples that count: below it noise may be all that a run shows."""
_NAMES: tuple[Name, ...] = ("decode_tps", "prefill_tps")
_WORST_FIRST: tuple[Outcome, ...] = ("regressed", "suspected", "same", "better")
_CHANGED: tuple[Outcome, ...] = ("regressed", "suspected", "better")
_KEY_DIGITS = 16
_DIGEST_DIGITS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One rate of one shape against one baseline. Only rates of the main shape decide."""

    name: Name
    prompt_tokens: int
    generate_tokens: int
    baseline: Baseline
    decides: bool
    shift: Shift

    def to_json(self) -> dict[str, Any]:
        """Return the metric as the bench document carries it."""
        found = asdict(self)
        shift = found.pop("shift")
        of_shift = ("outcome", "baseline_runs", "runs", "ratio", "ci_low", "ci_high")
        return found | {name: shift[name] for name in (*of_shift, "scatter", "threshold")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What came of it. `why` is one sentence; `runs` and `pinned` are numbers in the ledger.

    `outcome` is the worst of the metrics that decide. "unknown": there is no baseline yet;
    "inconclusive": too noisy, or too little, to be compared. `confirms`: the run before this one,
    whose suspicion this one was made to confirm.
    """

    outcome: Outcome
    why: str
    runs: tuple[int, ...] = ()
    pinned: int | None = None
    confirms: int | None = None
    metrics: tuple[Metric, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as the bench document carries it."""
        return {
            "outcome": self.outcome,
            "why": self.why,
            "against": {"runs": list(self.runs), "pinned": self.pinned},
            "confirms": self.confirms,
            "metrics": [m.to_json() for m in self.metrics],
        }


def key(document: Document) -> str:
    """Return the key of a run, 16 hexadecimal digits: runs of the same key may be compared."""
    text = json.dumps(_conditions(document), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


def differs(one: Document, other: Document) -> list[str]:
    """Return in what the conditions of two runs differ, as "NAME ONE'S instead of OTHER'S"."""
    here, there = _conditions(one), _conditions(other)
    mine, theirs = here.pop("options"), there.pop("options")
    names = sorted({*mine, *theirs})
    pairs = [(name, value, there[name]) for name, value in here.items()]
    pairs += [(f"option {name}", mine.get(name), theirs.get(name)) for name in names]
    return [f"{name} {_shown(a)} instead of {_shown(b)}" for name, a, b in pairs if a != b]


def _conditions(document: Document) -> dict[str, Any]:
    return {
        "weights": document.get("blob") or document["digest"],
        "placement": document.get("placement"),
        "quantization": document["quantization"],
        "server version": document["server_version"],
        "runtime": document["runtime"],
        "machine": document["machine"]["digest"],
        "options": dict(document["options"]),
        "slots": document["parallel"],
        "KV cache type": document["kv_cache_type"],
        "flash attention": document.get("flash_attention"),
    }


def _shown(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).removeprefix("sha256:")[:_DIGEST_DIGITS]


def compared(
    newest: Sequence[Document],
    *,
    rolling: Sequence[Document] = (),
    pinned: Document | None = None,
    run: Document | None = None,
    before: Document | None = None,
) -> Comparison:
    """Return how a run compares: `newest` is that run, or a suspicious one and its second trial.

    `rolling`: the usable runs of the same key, oldest first, best as many as SCATTER_RUNS of
    `regression`. `before`: the last run of the key before `newest`, usable or not; if it left a
    suspicion, it is judged together with this one. `run`: compare with that run and nothing else.
    """
    confirms = newest[0]["id"] if len(newest) > 1 else None
    if run is not None and (others := differs(newest[-1], run)):
        why = f"run {run['id']} is of another kind: {', '.join(others)}"
        return Comparison(outcome="not_comparable", why=why, confirms=confirms)
    if unfit := next((w for d in newest if (w := _unfit(d))), None):
        return Comparison(outcome="inconclusive", why=unfit, confirms=confirms)
    if run is not None and (unfit := _unfit(run)):
        why = f"run {run['id']} is no measure: {unfit}"
        return Comparison(outcome="not_comparable", why=why, confirms=confirms)
    open_one = before if run is None and _left_open(before, newest[-1], pinned) else None
    return _Sides(newest, rolling, pinned, run, open_one).compared(confirms)


def _left_open(before: Document | None, newest: Document, pinned: Document | None) -> bool:
    """A suspicion stands that nobody settled by pinning the run that raised it."""
    if before is None or before["key"] != newest["key"] or _unfit(before):
        return False
    accepted = pinned is not None and pinned["id"] == before["id"]
    return _outcome(before) == "suspected" and not accepted


def _since_accepted(rolling: Sequence[Document], pinned: Document | None) -> Sequence[Document]:
    """Return the runs that tell the level: a run that was pinned although it differed from those
    before it is the new level, and they only tell how far runs lie apart.
    """
    if pinned is None or _outcome(pinned) not in _CHANGED:
        return rolling
    return [d for d in rolling if d["id"] >= pinned["id"]]


def _outcome(document: Document) -> Outcome | None:
    found: Outcome | None = document["comparison"] and document["comparison"]["outcome"]
    return found


def _unfit(document: Document) -> str | None:
    """Return why a run is no measure of speed; None: it is one."""
    verdict = document["verdict"]
    if verdict and verdict["outcome"] == "inconclusive":
        said = [c["detail"] for c in verdict["checks"] if c["outcome"] == "inconclusive"]
        return f"its verdict is inconclusive: {', '.join(said)}"
    counting = [s for s in document["samples"] if s["outcome"] == "ok"]
    of_main = [s for s in counting if _shape(s) == _main(document)]
    if not of_main:
        return "none of its samples of the main shape counts"
    share = min(sum(not s["noisy"] for s in of) / len(of) for of in (counting, of_main))
    if share >= QUIET_SHARE:
        return None
    return (
        f"only {100 * share:.0f} % of the samples that count were taken on a quiet box,"
        f" and it takes {100 * QUIET_SHARE:.0f} %"
    )


def _main(document: Document) -> Shape:
    return document["prompt"]["tokens"], document["generate_tokens"]


def _shape(sample: Document) -> Shape:
    return sample["want_prompt_tokens"], sample["want_tokens"]


def _rates(document: Document, shape: Shape, name: Name) -> list[float]:
    """Return the rates of the quiet samples of a shape that count."""
    return [
        s[name]
        for s in document["samples"]
        if s["outcome"] == "ok" and not s["noisy"] and _shape(s) == shape and s[name]
    ]


def _runs(documents: Sequence[Document], shape: Shape, name: Name) -> list[Run]:
    return [rates for d in documents if (rates := _rates(d, shape, name))]


class _Sides:
    """What is compared with what: `before` is a run whose suspicion is judged together with the
    newest; `run` takes the place of both baselines.
    """

    def __init__(
        self,
        newest: Sequence[Document],
        rolling: Sequence[Document],
        pinned: Document | None,
        run: Document | None,
        before: Document | None,
    ) -> None:
        self._newest = newest
        self._before = [] if before is None else [before]
        self._known = rolling
        self._level = [] if run else _since_accepted(rolling, pinned)
        self._one, self._pinned, self._rule = (run, None, ONE) if run else (pinned, pinned, SLOW)
        self._one_is: Baseline = "run" if run else "pinned"
        self._main = _main(newest[-1])

    def compared(self, confirms: int | None) -> Comparison:
        metrics = [m for shape in self._shapes() for name in _NAMES for m in self._of(shape, name)]
        deciding = [m for m in metrics if m.decides and m.shift.ratio is not None]
        level = [d for d in self._level if _rates(d, self._main, "decode_tps")][-MOST_RUNS:]
        worst = min(deciding, key=_badness, default=None)
        return Comparison(
            outcome=worst.shift.outcome if worst else "unknown",
            why=self._told(worst) if worst else self._unknown(len(level)),
            runs=tuple(d["id"] for d in ([self._one] if self._one_is == "run" else level) if d),
            pinned=self._pinned["id"] if self._pinned else None,
            confirms=confirms,
            metrics=tuple(metrics),
        )

    def _shapes(self) -> list[Shape]:
        counting = [s for d in self._newest for s in d["samples"] if s["outcome"] == "ok"]
        return sorted({_shape(s) for s in counting})

    def _of(self, shape: Shape, name: Name) -> list[Metric]:
        """Return a rate of a shape against each baseline that has it."""
        newest = _runs(self._newest, shape, name)
        before = _runs(self._before, shape, name)
        level, known = _runs(self._level, shape, name), _runs(self._known, shape, name)
        one = _rates(self._one, shape, name) if self._one else []
        runs, nights = [*before, *newest], 1 + len(before)
        found: list[tuple[Baseline, Shift]] = []
        if newest and level:
            shift = regression.compare(level, runs, nights=nights, known=known)
            found.append(("rolling", shift))
        if newest and one:
            rule = self._rule
            shift = regression.compare_with_one(one, runs, nights=nights, known=known, rule=rule)
            found.append((self._one_is, shift))
        return [
            Metric(
                name=name,
                prompt_tokens=shape[0],
                generate_tokens=shape[1],
                baseline=baseline,
                decides=shape == self._main,
                shift=shift,
            )
            for baseline, shift in found
        ]

    def _told(self, metric: Metric) -> str:
        """Return what a metric shows, in one sentence with its numbers."""
        shift = metric.shift
        rate, before = shift.newest or 0.0, shift.baseline or 0.0
        moved, apart = (shift.ratio or 1.0) - 1, shift.scatter or 0.0
        runs = f"the last {shift.baseline_runs} runs"
        baseline = runs if metric.baseline == "rolling" else self._name_of_one()
        what = "runs" if shift.scatter_of == "runs" else "samples of a run"
        return (
            f"{metric.name.removesuffix('_tps')} {_tps(rate)} tokens/s is"
            f" {100 * abs(moved):.1f} % {'below' if moved < 0 else 'above'} {baseline}"
            f" ({_tps(before)}; {what} lie {100 * apart:.1f} % apart)"
        )

    def _unknown(self, level: int) -> str:
        if self._one:
            prompt, tokens = self._main
            shape = f"prompts of {prompt} tokens with {tokens} generated"
            return f"{self._name_of_one()} has no {shape}, which is the main shape of this one"
        if not self._known:
            return "the first run of its kind: there is nothing to compare it with"
        return f"{level} of the {LEAST_RUNS} runs that a baseline takes"

    def _name_of_one(self) -> str:
        number = self._one["id"] if self._one else None
        return f"run {number}" if self._one_is == "run" else f"the pinned run {number}"


def _badness(metric: Metric) -> tuple[int, float]:
    return _WORST_FIRST.index(metric.shift.outcome), metric.shift.ratio or 0.0


def _tps(rate: float) -> str:
    """Return a rate with three figures, and never as a power of ten."""
    return f"{rate:.{max(0, 2 - math.floor(math.log10(rate)))}f}"
