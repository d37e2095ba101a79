"""`deploy history`."""

import os
from typing import Any

import click

from orchestrator.cli.options import common, start_log
from orchestrator.cli.render import emit, table
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.units import gib


@click.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True)
@common
def history(limit: int, as_json: bool, verbose: bool, log_format: str | None) -> None:
    """List deployments and bench runs, newest first."""
    start_log(verbose=verbose, log_format=log_format)
    ledger = Ledger(Home.of(os.environ).ledger)
    document = {
        "schema": 1,
        "deployments": ledger.deployments(limit),
        "bench_runs": ledger.bench_runs(limit),
    }
    emit(document, _text(document), as_json=as_json)


def _text(document: dict[str, Any]) -> str:
    if not document["deployments"] and not document["bench_runs"]:
        return "nothing was deployed or measured yet"
    rows = [
        (d["deployed_at"], d["state"], d["model"], _memory(d), _verdict(d))
        for d in document["deployments"]
    ]
    runs = [
        (b["started_at"], "bench", b["model"], _rate(b), (b["verdict"] or {}).get("outcome", "-"))
        for b in document["bench_runs"]
    ]
    rows = sorted(rows + runs, reverse=True)
    return table(rows, ("when", "what", "model", "measured", "verdict"))


def _verdict(deployment: dict[str, Any]) -> str:
    """What came of it: the verdict, why it failed, and what a rollback went away from."""
    parts = [deployment["verdict"]["outcome"]] if deployment["verdict"] else []
    if deployment["failure"]:
        parts.append(deployment["failure"])
    if left := deployment["rolled_back_from"]:
        parts.append(f"brought back {left['at']} in place of {left['model']}")
    return "; ".join(parts) or "-"


def _memory(deployment: dict[str, Any]) -> str:
    size = (deployment["measured"] or {}).get("resident_bytes")
    return gib(size) if size else "-"


def _rate(bench: dict[str, Any]) -> str:
    decode = bench["metrics"]["decode_tps"]
    return f"{decode['median']:.1f} tokens/s" if decode else "-"
