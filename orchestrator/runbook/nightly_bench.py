"""`nightly-bench`: measure what is deployed, with its own options, and judge it."""

from collections.abc import Mapping
from typing import Any

from orchestrator import log
from orchestrator.errors import Inconclusive, PromiseBroken
from orchestrator.measure import bench
from orchestrator.order import Order
from orchestrator.progress import Progress
from orchestrator.runbook.deployed import answering, deployed


def run(order: Order, progress: Progress) -> list[str]:
    """Measure the deployment, record it in the ledger, and return what was measured.

    Raises NothingDeployed, ServerUnreachable; PromiseBroken: a check failed; Inconclusive.
    """
    serves = deployed(order)
    document = bench(order, answering(order), serves["alias"], "quick", progress)
    medians = {name: m["median"] for name, m in document["metrics"].items() if m}
    verdict = document["verdict"]
    log.event("bench.measured", bench_run=document["id"], outcome=verdict["outcome"], **medians)
    number = f"bench run {document['id']} of {serves['model']}"
    if verdict["outcome"] == "failed":
        raise PromiseBroken(f"{number}: {_said(verdict)}", bench_run=document["id"])
    if verdict["outcome"] == "inconclusive":
        raise Inconclusive(f"{number}: {_said(verdict)}", bench_run=document["id"])
    return [f"{number}: {verdict['outcome']}"]


def _said(verdict: Mapping[str, Any]) -> str:
    bad = [c for c in verdict["checks"] if c["outcome"] in ("failed", "inconclusive")]
    return ", ".join(f"{c['name']}: {c['detail']}" for c in bad)
