"""What downloads took: the rate of a source, as measured here, for the next forecast."""

import statistics
from datetime import UTC, datetime

from orchestrator.ledger.database import Database

_NEWEST = 5
_LEAST_BYTES = 8 * 10**6
"""Less is over before a line is up to its speed, and says nothing of it."""


def note_pull(
    db: Database, *, host: str, source: str, model: str, fetched_bytes: int, seconds: float
) -> None:
    """Note what one pull moved. Raises DiskFull."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with db.writing() as connection:
        connection.execute(
            "INSERT INTO pulls (at, server_host, source, model, bytes, seconds)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (at, host, source, model, fetched_bytes, seconds),
        )


def rate_bytes_per_s(db: Database, source: str) -> float | None:
    """Return the median rate of the newest pulls from a source; None: none was large enough.

    Raises DiskFull.
    """
    rows = db.read(
        "SELECT bytes / seconds FROM pulls WHERE source = ? AND bytes >= ? AND seconds > 0"
        " ORDER BY id DESC LIMIT ?",
        (source, _LEAST_BYTES, _NEWEST),
    )
    return statistics.median(rate for (rate,) in rows) if rows else None
