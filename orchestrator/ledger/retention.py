"""What the ledger lets go: raw samples of old runs, old verifications. Never a document or figure.

Called inside the transaction that adds a row, so that a ledger is never larger than this allows.
"""

import sqlite3

RUNS_WITH_SAMPLES = 1_000
BASELINE_RUNS = 30
"""Of a key so many runs tell how far good runs lie apart; a comparison resamples their samples."""
VERIFICATIONS_EACH = 1_000

# No run is ever deleted, so their numbers have no gaps and the newest are those above a number.
_SAMPLES = """
    DELETE FROM bench_samples
    WHERE run <= (SELECT max(id) FROM bench_runs) - :newest
    AND run NOT IN (SELECT run FROM pins)
    AND run NOT IN (
        SELECT b.id FROM deployments d JOIN bench_runs b ON b.deployment = d.id
        WHERE d.state IN ('current', 'previous'))
    AND NOT EXISTS (
        SELECT 1 FROM bench_runs own WHERE own.id = run AND own.standing = 'baseline'
        AND (SELECT count(*) FROM (
            SELECT 1 FROM bench_runs newer
            WHERE newer.key = own.key AND newer.standing = 'baseline' AND newer.id > own.id
            LIMIT :baseline)) < :baseline)
"""
_VERIFICATIONS = """
    DELETE FROM verifications WHERE deployment = :deployment AND id <= (
        SELECT id FROM verifications WHERE deployment = :deployment
        ORDER BY id DESC LIMIT 1 OFFSET :newest)
"""


def prune_samples(db: sqlite3.Connection) -> None:
    """Delete the samples of runs that are old, and that nothing is compared with or judged by."""
    db.execute(_SAMPLES, {"newest": RUNS_WITH_SAMPLES, "baseline": BASELINE_RUNS})


def prune_verifications(db: sqlite3.Connection, deployment: int) -> None:
    """Delete the oldest verifications of a deployment."""
    db.execute(_VERIFICATIONS, {"deployment": deployment, "newest": VERIFICATIONS_EACH})
