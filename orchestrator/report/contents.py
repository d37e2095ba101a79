"""What a report is made of, read out of the ledger: light rows of all runs, few whole documents."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import InvalidInput, MachineInvalid
from orchestrator.ledger import Ledger
from orchestrator.machine import Machine
from orchestrator.machine_file import from_json
from orchestrator.report.graded import cells_of
from orchestrator.report.history import Row, family

Document = Mapping[str, Any]
MOST_RUNS = 20_000
"""Older runs are counted by nobody and drawn nowhere; the page says so."""
_LOOKED_INTO = 20
# Names of models and hardware are data of the page; all other texts go through the redactor.
_NAMES = frozenset({"model", "tag", "alias", "reference", "quantization", "architecture", "name"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A model that was measured: how often, and its newest run."""

    model: str
    runs: int
    newest: Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """One report. `subject` is the model that its history is of; None: nothing was measured.

    `figures` are the runs of all models, newest first, `rows` the subject's, oldest first.
    `newest`, `deepest` and `crowded` are whole documents: the newest run, the newest of several
    depths, the newest with several users; None: there is no such run. `truncated`: the ledger has
    more runs than are read.
    """

    host: str
    deployments: Sequence[Document] = ()
    machine: Machine | None = None
    figures: Sequence[Row] = ()
    subject: str | None = None
    rows: Sequence[Row] = ()
    newest: Document | None = None
    deepest: Document | None = None
    crowded: Document | None = None
    others: Sequence[Measured] = ()
    truncated: bool = False


def contents(
    ledger: Ledger, host: str, clean: Callable[[Any], Any], model: str | None = None
) -> Contents:
    """Read the report of the server at `host`: of `model`, else of what is deployed there.

    `clean` takes out of a document what names a person or a host. Raises InvalidInput: `model` was
    never measured. DiskFull: the ledger cannot be read.
    """
    rows = ledger.figures(limit=MOST_RUNS)
    deployments = [_redacted(clean, d) for d in ledger.currents(host)]
    subject = _subject(rows, deployments, model)
    ours = [r for r in rows if family(r["model"]) == subject]
    whole = [_redacted(clean, b) for b in _newest(ledger, ours)]
    return Contents(
        host=clean({"host": host})["host"],
        deployments=deployments,
        machine=_machine(ledger, [*deployments, *whole[:1]]),
        figures=rows,
        subject=subject,
        rows=ours[::-1],
        newest=whole[0] if whole else None,
        deepest=next((b for b in whole if len(cells_of(b)) > 1), None),
        crowded=next((b for b in whole if b.get("concurrency")), None),
        others=_others(rows, subject),
        truncated=len(rows) == MOST_RUNS,
    )


def _subject(rows: Sequence[Row], deployments: Sequence[Document], model: str | None) -> str | None:
    """Return the family of models that the history is of."""
    measured = dict.fromkeys(family(r["model"]) for r in rows)
    if model:
        if family(model) not in measured:
            known = ", ".join(measured) or "none"
            raise InvalidInput(f"{model} was never measured", hint=f"measured were: {known}")
        return family(model)
    deployed = [family(d["model"]) for d in deployments]
    return next(iter([*deployed, *measured]), None)


def _newest(ledger: Ledger, newest_first: Sequence[Row]) -> Iterator[Document]:
    """Yield whole runs until one of several depths and one with several users were among them."""
    deep = crowded = False
    for row in newest_first[:_LOOKED_INTO]:
        if (bench := ledger.bench_run(row["id"])) is None:  # pruned meanwhile
            continue
        yield {**bench, "samples": []}
        deep = deep or len(cells_of(bench)) > 1
        crowded = crowded or bool(bench.get("concurrency"))
        if deep and crowded:
            return


def _machine(ledger: Ledger, documents: Sequence[Document]) -> Machine | None:
    """Return the machine as it was probed for the first of these documents that it is kept of."""
    for document in documents:
        if kept := ledger.machine(document["machine"]["digest"]):
            with suppress(MachineInvalid):  # of an older deploy, which knew fewer rules
                return from_json(kept, source="the ledger")
    return None


def _others(rows: Sequence[Row], subject: str | None) -> list[Measured]:
    counts = Counter(family(r["model"]) for r in rows)
    newest: dict[str, Row] = {}
    for row in rows:
        newest.setdefault(family(row["model"]), row)
    return [
        Measured(model=model, runs=counts[model], newest=row)
        for model, row in newest.items()
        if model != subject
    ]


def _redacted(clean: Callable[[Any], Any], document: Document) -> Document:
    found: Document = _spared(document, clean(document))
    return found


def _spared(before: Any, after: Any, key: str = "") -> Any:  # noqa: ANN401 - JSON
    """Return the redacted value with the names of models and hardware as they were."""
    if isinstance(after, dict):
        pairs: Iterable[tuple[str, Any]] = zip(before.values(), after.items(), strict=True)
        return {k: _spared(b, v, k) for b, (k, v) in pairs}
    if isinstance(after, list):
        return [_spared(b, a, key) for b, a in zip(before, after, strict=True)]
    return before if key in _NAMES and isinstance(before, str) else after
