"""How far what was measured was from what was promised, by runs of the same kind. Pure.

A ratio is measured / promised. What a run was promised is a raw estimate, never a calibrated one:
else every plan would correct the correction of the plan before.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any, Self

from orchestrator.machine import Machine

Row = Mapping[str, Any]
"""A bench run of the ledger without its samples; None: not known, or not measured."""

_NEWEST_RUNS = 10
# A rate differs from night to night, and one alone may be that of a bad one. What a model takes in
# memory is the same each time.
_LEAST_SPEED_RUNS = 2
_CREDIBLE = 5.0  # times more, or less; beyond it something else was measured
_KEY = ("machine", "server_version", "architecture", "quantization", "context", "parallel")
_ON = {"cpu": "on the CPU", "gpu": "on GPUs", "split": "on GPUs and the CPU"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What runs have in common that grade each other's estimates.

    `context_bucket` is the power of two up to which the tokens of all slots together reach.
    `runtime` matters on a CPU only, where builds differ by a factor of several; elsewhere None.
    """

    machine: str
    server_version: str
    architecture: str
    quantization: str
    context_bucket: int
    placement: str
    runtime: str | None

    @classmethod
    def of(cls, facts: Row) -> Self | None:
        """Return the key of facts under their names in the ledger; None: one is not known."""
        placement, runtime = facts["placement"], facts["runtime"]
        on_cpu = placement == "cpu"
        wanted = [placement, *(facts[name] for name in _KEY), runtime if on_cpu else ""]
        if None in wanted or facts["quantization"] == "unknown":
            return None
        return cls(
            machine=facts["machine"],
            server_version=facts["server_version"],
            architecture=facts["architecture"],
            quantization=facts["quantization"],
            context_bucket=bucket(facts["context"] * facts["parallel"]),
            placement=placement,
            runtime=runtime if on_cpu else None,
        )

    def __str__(self) -> str:
        runtime = f", {self.runtime}" if self.runtime else ""
        return (
            f"{self.architecture} {self.quantization} {_ON.get(self.placement, self.placement)} "
            f"(Ollama {self.server_version}{runtime}; {self.context_bucket // 2 + 1} to "
            f"{self.context_bucket} tokens of context)"
        )


def bucket(tokens: int) -> int:
    """Return the smallest power of two that is not below `tokens`."""
    return 1 << max(0, tokens - 1).bit_length()


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """Measured / promised over some runs: their median, least and most."""

    median: float
    least: float
    most: float
    runs: int

    def __str__(self) -> str:
        """Say it as a person does: "12 % above the estimate in 3 runs"."""
        off = 100 * (self.median - 1)
        size = f"{abs(off):.{0 if abs(off) >= 1 else 1}f}"
        side = f"{size} % {'above' if off > 0 else 'below'} the estimate"
        return f"{'as estimated' if size == '0.0' else side} in {_runs(self.runs)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """What the newest runs of one key say. None: they do not say.

    `resident` is the runner's memory on the host, `devices` that of all its devices together,
    `decode` the rate. `runs` took part in any of them; `notes`: what did not, and why.
    """

    key: Key
    resident: Ratio | None
    devices: Ratio | None
    decode: Ratio | None
    runs: int
    notes: tuple[str, ...] = ()

    @property
    def memory(self) -> Ratio | None:
        """The ratio of the memory that decides in this placement."""
        return self.resident if self.key.placement == "cpu" else self.devices or self.resident

    @property
    def basis(self) -> str:
        """From which runs it is drawn and how far off they were, in one sentence."""
        found = [f"{name} {ratio}" for name, ratio in self._ratios() if ratio]
        return f"medians of the newest runs of {self.key}: {'; '.join([*found, *self.notes])}"

    @property
    def more(self) -> str:
        """How much more memory was measured than estimated; empty: no more."""
        above = [f"{ratio}{where}" for where, ratio in self._places() if ratio and ratio.median > 1]
        return f"measured {' and '.join(above)}" if above else ""

    def _ratios(self) -> Iterable[tuple[str, Ratio | None]]:
        yield from ((f"memory{where}", ratio) for where, ratio in self._places())
        yield "decode", self.decode

    def _places(self) -> tuple[tuple[str, Ratio | None], ...]:
        both = self.resident is not None and self.devices is not None
        on_gpus, on_host = (" on GPUs", " on the host") if both else ("", "")
        return (on_gpus, self.devices), (on_host, self.resident)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """The tag that an alias serves, as it was loaded and measured."""

    tag: str
    placement: str
    context: int
    parallel: int

    @classmethod
    def of(cls, serves: Row | None, machine: Machine) -> Self | None:
        """Return what `serves`, a deployment of this machine whose verdict is not bad; or None."""
        if serves is None or serves["machine"]["digest"] != machine.digest:
            return None
        verdict = serves["verdict"]
        if not verdict or verdict["outcome"] in ("failed", "inconclusive"):
            return None
        return cls(
            tag=serves["tag"],
            placement=serves["placement"],
            context=serves["context"],
            parallel=serves["parallel"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Grades:
    """All that the ledger says of one machine. `fault`: why it says nothing."""

    by_key: Mapping[Key, Grade] = field(default_factory=dict)
    deployed: Deployed | None = None
    fault: str | None = None

    def of(self, facts: Row) -> Grade | None:
        """Return the grade of an estimate by its facts, under their names in the ledger."""
        key = Key.of(facts) if self.by_key else None
        return self.by_key.get(key) if key else None


def grade(rows: Iterable[Row]) -> dict[Key, Grade]:
    """Return a grade a key, from runs that are given newest first."""
    runs: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        key = Key.of(row)
        if key and row["verdict"] != "inconclusive":
            runs[key].append(row)
    return {key: found for key, own in runs.items() if (found := _graded(key, own))}


def _graded(key: Key, rows: Sequence[Row]) -> Grade | None:
    quiet = [row for row in rows if row["noisy"] is not None and not row["noisy"]]
    resident = _Graded.by(rows if key.placement != "gpu" else (), "resident_bytes")
    devices = _Graded.by(rows if key.placement != "cpu" else (), "vram_bytes")
    decode = _Graded.by(quiet, "decode_tps")
    notes = []
    if beyond := resident.beyond | devices.beyond | decode.beyond:
        notes.append(f"{_runs(len(beyond))} left out: off by more than {_CREDIBLE:g} times")
    if few := 0 < len(decode.ratios) < _LEAST_SPEED_RUNS:
        notes.append(f"decode in {_runs(len(decode.ratios))} only, {_LEAST_SPEED_RUNS} are asked")
    took_part = {*resident.ratios, *devices.ratios, *(() if few else decode.ratios)}
    if not took_part and not notes:
        return None
    return Grade(
        key=key,
        resident=resident.ratio,
        devices=devices.ratio,
        decode=None if few else decode.ratio,
        runs=len(took_part),
        notes=tuple(notes),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Graded:
    """The newest ratios of one figure by the numbers of their runs; `beyond` have none."""

    ratios: Mapping[int, float]
    beyond: frozenset[int]

    @classmethod
    def by(cls, rows: Iterable[Row], name: str) -> Self:
        pairs = ((row["id"], row[name], row[f"promised_{name}"]) for row in rows)
        found = {
            run: has / promised for run, has, promised in pairs if promised and has is not None
        }
        taken = {run: r for run, r in found.items() if 1 / _CREDIBLE <= r <= _CREDIBLE}
        return cls(
            ratios=dict(islice(taken.items(), _NEWEST_RUNS)),
            beyond=frozenset(islice(found, _NEWEST_RUNS)) - frozenset(taken),
        )

    @property
    def ratio(self) -> Ratio | None:
        values = self.ratios.values()
        if not values:
            return None
        return Ratio(median=median(values), least=min(values), most=max(values), runs=len(values))


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"
