"""The ledger: everything that was planned, deployed and measured, in one SQLite file (WAL).

Rows hold the JSON documents of the contracts; columns are only what is searched by. Every estimate
stays beside its measurement, so the next plan can be graded by it.
"""

from orchestrator.ledger.rows import Ledger

__all__ = ["Ledger"]
