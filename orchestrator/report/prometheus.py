"""The newest figures of each model as a text file for node_exporter's textfile collector.

The registry is our own: no figure of this process or of Python gets in. What is unknown has no
sample, never a 0. Samples carry no timestamp: the collector refuses files that have them; when a
run was made is a gauge of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidInput
from orchestrator.evidence import write

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Row = Mapping[str, Any]
# A series a model and name: a box that tries hundreds of models must not fill the time series.
MOST_MODELS = 50
_LONGEST_LABEL = 250
_OUTCOMES = ("passed", "warned", "failed", "unverified", "inconclusive")
_DECIDED = ("same", "better", "suspected", "regressed")
_FIGURES = (
    ("deploy_bench_decode_tokens_per_second", "decode_tps", "Decode rate, median of the run."),
    ("deploy_bench_prefill_tokens_per_second", "prefill_tps", "Prefill rate, median of the run."),
    ("deploy_bench_ttft_seconds", "ttft_s", "Time to first token, median of the run."),
    ("deploy_bench_load_seconds", "load_s", "Load into a new runner, median of the run."),
)
_INFO = (
    "model", "tag", "alias", "quantization", "architecture", "server_version", "runtime",
    "placement", "context", "parallel",
)  # fmt: skip


def write_textfile(path: Path, rows: Iterable[Row], deployment: Mapping[str, Any] | None) -> None:
    """Make the file anew in one step, for all to read: the collector is another user.

    `rows` are figures of the ledger, newest first: the newest of each model counts.
    Raises InvalidInput: no name that the collector reads, or not ours to write. DiskFull.
    """
    if path.suffix != ".prom":
        what = f"{path}: node_exporter reads only files that end in .prom"
        raise InvalidInput(what, hint=f"name it {path.with_suffix('.prom').name}")
    from prometheus_client import generate_latest

    text = generate_latest(_registry(list(_newest(rows)), deployment))
    write(path, lambda target: target.write_bytes(text))


def _newest(rows: Iterable[Row]) -> Iterator[Row]:
    seen: set[str] = set()
    for row in rows:
        if row["model"] not in seen and len(seen) < MOST_MODELS:
            seen.add(row["model"])
            yield row


def _registry(rows: Sequence[Row], deployment: Mapping[str, Any] | None) -> "CollectorRegistry":
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    for name, key, words in _FIGURES:
        _gauge(registry, name, words, ("model",), (((r["model"],), r[key]) for r in rows))
    for what, words in (("measured", "What the runner took"), ("promised", "What was estimated")):
        _gauge(
            registry,
            f"deploy_memory_{what}_bytes",
            f"{words}: resident on the host, vram on all devices together.",
            ("model", "part"),
            _memory(rows, "promised_" if what == "promised" else ""),
        )
    _gauge(
        registry,
        "deploy_bench_last_run_timestamp_seconds",
        "When the newest run of the model began, in seconds since 1970.",
        ("model",),
        (((r["model"],), datetime.fromisoformat(r["at"]).timestamp()) for r in rows),
    )
    _noise(registry, rows)
    _verdicts(registry, rows)
    if deployment:
        values = tuple(deployment.get(key) for key in _INFO)
        words = "What the alias serves; always 1."
        _gauge(registry, "deploy_deployment_info", words, _INFO, [(values, 1)])
    return registry


def _noise(registry: "CollectorRegistry", rows: Sequence[Row]) -> None:
    known = [r for r in rows if r["noisy"] is not None]
    _gauge(
        registry,
        "deploy_bench_noisy",
        "Whether others kept the box busy meanwhile: then its rates are no measure.",
        ("model",),
        (((r["model"],), int(r["noisy"])) for r in known),
    )


def _verdicts(registry: "CollectorRegistry", rows: Sequence[Row]) -> None:
    """Add what the runs came to: a series an outcome, so that an alert can name one."""
    judged = [r for r in rows if r["verdict"] in _OUTCOMES]
    _gauge(
        registry,
        "deploy_bench_verdict",
        "Whether the estimate held, by the newest run: 1 for the outcome that it had.",
        ("model", "outcome"),
        (((r["model"], o), int(r["verdict"] == o)) for r in judged for o in _OUTCOMES),
    )
    compared = [r for r in rows if r["comparison"] in _DECIDED]
    _gauge(
        registry,
        "deploy_bench_regressed",
        "Whether the newest run is a confirmed loss of speed; absent: it could not be compared.",
        ("model",),
        (((r["model"],), int(r["comparison"] == "regressed")) for r in compared),
    )


def _memory(rows: Sequence[Row], prefix: str) -> Iterator[tuple[tuple[str, str], float | None]]:
    for row in rows:
        for part in ("resident", "vram"):
            yield (row["model"], part), row[f"{prefix}{part}_bytes"]


def _gauge(
    registry: "CollectorRegistry",
    name: str,
    words: str,
    labels: Sequence[str],
    samples: Iterable[tuple[Sequence[object], float | None]],
) -> None:
    from prometheus_client import Gauge

    gauge = Gauge(name, words, labels, registry=registry)
    for values, value in samples:
        if value is not None:
            gauge.labels(*(_label(v) for v in values)).set(value)


def _label(value: object) -> str:
    return "" if value is None else str(value)[:_LONGEST_LABEL]
