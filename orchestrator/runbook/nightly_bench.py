"""`nightly-bench`: measure what is deployed, with its own options, and judge it."""

from collections.abc import Mapping
from typing import Any

from orchestrator import log
from orchestrator.errors import BenchRegressed, DiskFull, Inconclusive, PromiseBroken
from orchestrator.measure import Asked, bench
from orchestrator.order import Order
from orchestrator.progress import Progress
from orchestrator.runbook.deployed import answering, deployed


def run(order: Order, progress: Progress) -> list[str]:
    """Measure the deployment, record it in the ledger, and return what was measured.

    Raises NothingDeployed, ServerUnreachable; PromiseBroken: a check failed; BenchRegressed: it is
    slower than it was; Inconclusive.
    """
    serves = deployed(order)
    asked = Asked(effort="quick")
    document = bench(order, answering(order), serves["alias"], asked, progress)
    medians = {name: m["median"] for name, m in document["metrics"].items() if m}
    verdict = document["verdict"]
    if document["id"] is None:
        raise DiskFull(f"the measurement of {serves['model']} could not be kept in the ledger")
    comparison = document["comparison"]
    log.event(
        "bench.measured",
        bench_run=document["id"],
        outcome=verdict["outcome"],
        comparison=comparison["outcome"],
        **medians,
    )
    number = f"bench run {document['id']} of {serves['model']}"
    if verdict["outcome"] == "failed":
        raise PromiseBroken(f"{number}: {_said(verdict)}", bench_run=document["id"])
    if verdict["outcome"] == "inconclusive":
        raise Inconclusive(f"{number}: {_said(verdict)}", bench_run=document["id"])
    if comparison["outcome"] == "regressed":
        raise BenchRegressed(f"{number}: {comparison['why']}", bench_run=document["id"])
    if comparison["outcome"] == "inconclusive":
        raise Inconclusive(f"{number}: {comparison['why']}", bench_run=document["id"])
    return [f"{number}: {verdict['outcome']}"]


def _said(verdict: Mapping[str, Any]) -> str:
    bad = [c for c in verdict["checks"] if c["outcome"] in ("failed", "inconclusive")]
    return ", ".join(f"{c['name']}: {c['detail']}" for c in bad)
