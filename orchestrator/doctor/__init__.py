"""What is wrong with a box or could be better, each with a remedy. Pure: facts in, checks out."""

from orchestrator.doctor.case import Case
from orchestrator.doctor.check import Check, document
from orchestrator.doctor.deployed import deployed
from orchestrator.doctor.devices import devices
from orchestrator.doctor.host import host
from orchestrator.doctor.server import server
from orchestrator.doctor.store import store

__all__ = ["Case", "Check", "document", "examine"]


def examine(case: Case) -> tuple[Check, ...]:
    """Return all checks, the worst first, in the order in which a person reads a box."""
    found = [check for part in (host, devices, store, server, deployed) for check in part(case)]
    rank = {"fail": 0, "warn": 1, "pass": 2}
    return tuple(sorted(found, key=lambda check: rank[check.outcome]))
