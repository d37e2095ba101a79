"""What downloads took, and what became of them: for the next forecast, and for the next pull."""

import statistics
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.ledger.database import Database
from orchestrator.model import Origin

_NEWEST = 5
_LEAST_BYTES = 8 * 10**6
"""Less is over before a line is up to its speed, and says nothing of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pull:
    """One pull: `model` is the name on the server, `digest` that of its manifest.

    `seconds` are those of the download alone. `origin` is None for what has a name of its own.
    """

    host: str
    source: str
    model: str
    digest: str
    fetched_bytes: int
    seconds: float
    origin: Origin | None = None


def note_pull(db: Database, pull: Pull) -> None:
    """Note what one pull did. Raises DiskFull."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with db.writing() as connection:
        connection.execute(
            "INSERT INTO pulls (at, server_host, source, model, digest, bytes, seconds, origin,"
            " content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                at,
                pull.host,
                pull.source,
                pull.model,
                pull.digest,
                pull.fetched_bytes,
                pull.seconds,
                *(pull.origin or (None, None)),
            ),
        )


def origin_of(db: Database, host: str, model: str, digest: str) -> Origin | None:
    """Return where the model of that name and digest came from; None: not by a pull of ours.

    Raises DiskFull.
    """
    rows = db.read(
        "SELECT origin, content FROM pulls WHERE server_host = ? AND model = ? AND digest = ?"
        " AND origin IS NOT NULL ORDER BY id DESC LIMIT 1",
        (host, model, digest),
    )
    return Origin(*rows[0]) if rows else None


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
