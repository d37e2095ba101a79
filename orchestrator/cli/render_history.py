"""How the ledger looks: two lists, one run with its samples, and a table for other programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cli.render import table
from orchestrator.cli.render_bench import bench as render_bench
from orchestrator.ledger import FIGURES
from orchestrator.units import gib

Document = Mapping[str, Any]
_UNKNOWN = "-"
_DEPLOYMENT = ("when", "what", "model", "measured", "verdict")
_RUN = (
    "run", "when", "model", "decode tokens/s", "memory", "verdict", "compared", "standing",
)  # fmt: skip
_SAMPLE = (
    "round", "try", "prompt", "generated", "outcome", "box", "prefill tok/s", "decode tok/s",
    "TTFT s", "foreign CPU",
)  # fmt: skip
_WITH_UNITS = {
    "at": "at_utc",
    "context": "context_tokens",
    "parallel": "parallel_slots",
    "decode_low": "decode_low_tps",
    "decode_high": "decode_high_tps",
}
# A spreadsheet takes a cell that begins so for a formula, and a tag can be anything.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def lists(deployments: Sequence[Document], runs: Sequence[Document]) -> str:
    """Return deployments, by their documents, and bench runs, by their figures."""
    parts = []
    if deployments:
        rows = [
            (d["deployed_at"], d["state"], d["model"], _measured(d), _verdict(d))
            for d in deployments
        ]
        parts.append(table(rows, _DEPLOYMENT))
    if runs:
        parts.append(table(map(_run, runs), _RUN))
    return "\n\n".join(parts) or "nothing was deployed or measured yet, or nothing that matches"


def one_run(bench: Document) -> str:
    """Return a bench run with a line a sample."""
    samples = table(map(_sample, bench["samples"]), _SAMPLE)
    kept = samples if bench["samples"] else "its samples are kept no more"
    return f"{render_bench(bench)}\nstanding  {bench['standing']}\n\n{kept}"


def as_csv(rows: Sequence[Document]) -> str:
    """Return the figures of bench runs by RFC 4180, a line a run; empty: unknown."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_WITH_UNITS.get(name, name) for name in FIGURES)
    writer.writerows([_cell(row[name]) for name in FIGURES] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _run(row: Document) -> tuple[object, ...]:
    return (
        row["id"],
        row["at"],
        row["model"],
        _shown(row["decode_tps"], ".1f"),
        _size(row),
        row["verdict"] or _UNKNOWN,
        (row["comparison"] or _UNKNOWN).replace("_", " "),
        row["standing"],
    )


def _size(row: Document) -> str:
    """Return what the model took where it ran: on the GPUs and, where it used both, the host."""
    host, devices = row["resident_bytes"], row["vram_bytes"]
    if devices is None:
        return _UNKNOWN if host is None else gib(host)
    split = row["placement"] == "split" and host is not None
    return f"{gib(devices)} GPU" + (f" + {gib(host)}" if split else "")


def _sample(sample: Document) -> tuple[object, ...]:
    return (
        "warm-up" if sample["round"] < 0 else sample["round"],
        sample["attempt"],
        _shown(sample["prompt_tokens"], "d"),
        _shown(sample["tokens"], "d"),
        sample["outcome"],
        "noisy" if sample["noisy"] else "quiet",
        _shown(sample["prefill_tps"], ".1f"),
        _shown(sample["decode_tps"], ".2f"),
        _shown(sample["ttft_s"], ".3f"),
        _shown(sample["foreign_cpu"], ".0%"),
    )


def _shown(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else format(value, form)


def _verdict(deployment: Document) -> str:
    """What came of it: the verdict, why it failed, and what a rollback went away from."""
    parts = [deployment["verdict"]["outcome"]] if deployment["verdict"] else []
    if deployment["failure"]:
        parts.append(deployment["failure"])
    if left := deployment["rolled_back_from"]:
        parts.append(f"brought back {left['at']} in place of {left['model']}")
    return "; ".join(parts) or _UNKNOWN


def _measured(deployment: Document) -> str:
    size = (deployment["measured"] or {}).get("resident_bytes")
    return gib(size) if size else _UNKNOWN
