"""Checks of what is deployed, and of deploy's own house."""

from collections.abc import Iterator

from orchestrator.doctor.case import Case
from orchestrator.doctor.check import Check, failed, passed


def deployed(case: Case) -> Iterator[Check]:
    """Check the deployment's names, files and memory as `deploy status` sees them; the ledger."""
    for finding in case.findings:
        yield failed("deployment", finding, "`deploy auto` puts it right")
    for name in case.torn:
        yield failed(
            "torn name",
            f"the manifest of {name} is torn: the server answers 500 (EOF), and cannot delete it",
            "`deploy auto` mends its own names; pull any other model again",
        )
    if not case.findings and not case.torn:
        what = f"{case.deployed} holds" if case.deployed else "nothing is deployed here yet"
        yield passed("deployment", what)
    if case.ledger_fault:
        yield failed(
            "ledger",
            case.ledger_fault,
            "move that file away: the next run starts a new one; or set DEPLOY_HOME",
        )
