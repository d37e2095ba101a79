"""The ledger: everything that was planned, deployed and measured, in one SQLite file (WAL).

Rows hold the JSON documents of the contracts; columns are only what is searched by, and the few
figures that lists and plots of thousands of runs are made of. Every estimate stays beside its
measurement, so the next plan can be graded by it.
"""

from orchestrator.ledger.benches import FIGURES
from orchestrator.ledger.rows import Ledger
from orchestrator.ledger.search import Wanted

__all__ = ["FIGURES", "Ledger", "Wanted"]
