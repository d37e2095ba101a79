"""What is written into the ledger and read back: deployments, measurements, verifications.

A deployment's states: `candidate` (a run is at it, or was killed), `current` (its alias serves it),
`previous` (what rollback goes back to), `failed`, `removed`.
"""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Literal

from orchestrator.ledger import older
from orchestrator.ledger.benches import Benches, insert_bench, keep_machine
from orchestrator.ledger.retention import prune_verifications
from orchestrator.ledger.search import DEPLOYMENTS, Wanted

Document = dict[str, Any]
_COLUMNS = "SELECT id, state, document FROM deployments"


class Ledger(Benches):
    """Opens (and makes) the file at `path`. Raises DiskFull: it cannot be read or written."""

    def begin(self, document: Mapping[str, Any], machine: Mapping[str, Any]) -> int:
        """Store a candidate before anything is done for it; return its number.

        A run that is killed leaves this row behind, and the next run knows what to clean up.
        """
        with self.writing() as db:
            keep_machine(db, document["machine"]["digest"], machine)
            cursor = db.execute(
                "INSERT INTO deployments (alias, state, server_host, tag, at, document)"
                " VALUES (?, 'candidate', ?, ?, ?, ?)",
                (
                    document["alias"],
                    document["server_host"],
                    document["tag"],
                    document["deployed_at"],
                    json.dumps(document),
                ),
            )
            return int(cursor.lastrowid or 0)

    def note(
        self, number: int, document: Mapping[str, Any], bench: Mapping[str, Any] | None = None
    ) -> None:
        """Write a candidate's document anew, with the measurement that it was judged by."""
        with self.writing() as db:
            _rewrite(db, number, document)
            if bench:
                insert_bench(db, bench, number)

    def accept(self, number: int, document: Mapping[str, Any]) -> None:
        """Make a candidate the current one; the current becomes previous, and that is removed.

        The same model proven anew takes the place of its former self: previous stays.
        """
        key = (document["server_host"], document["alias"])
        before = self.current(*key)
        anew = before and (before["model"], before["digest"]) == (
            document["model"],
            document["digest"],
        )
        with self.writing() as db:
            _rewrite(db, number, document)
            if anew:
                _restate(db, key, "current", "removed")
            else:
                _restate(db, key, "previous", "removed")
                _restate(db, key, "current", "previous")
            db.execute("UPDATE deployments SET state = 'current' WHERE id = ?", (number,))
            db.execute("DELETE FROM sightings WHERE server_host = ? AND alias = ?", key)

    def end(self, number: int, state: Literal["failed", "removed"], failure: str = "") -> None:
        """End a deployment's life in `state`; only a candidate can fail, and says why."""
        with self.writing() as db:
            db.execute(
                "UPDATE deployments SET state = ?, document = json_set(document, '$.failure', ?)"
                " WHERE id = ? AND (state = 'candidate' OR ? = 'removed')",
                (state, failure or None, number, state),
            )

    def forget(self, number: int) -> None:
        """Take a candidate out that never touched the box: its source does not have it."""
        with self.writing() as db:
            db.execute("DELETE FROM deployments WHERE id = ? AND state = 'candidate'", (number,))

    def swap(self, current: Mapping[str, Any] | None, previous: Mapping[str, Any]) -> None:
        """Make `previous` the current one and the current one previous, in one transaction.

        The document of `previous` is written anew as given.
        """
        with self.writing() as db:
            _rewrite(db, previous["id"], previous)
            if current:
                db.execute(
                    "UPDATE deployments SET state = 'previous' WHERE id = ?", (current["id"],)
                )
            db.execute("UPDATE deployments SET state = 'current' WHERE id = ?", (previous["id"],))

    def record_verification(self, document: Mapping[str, Any]) -> int:
        """Store what a look at a deployment found; return its number."""
        with self.writing() as db:
            cursor = db.execute(
                "INSERT INTO verifications (deployment, at, document) VALUES (?, ?, ?)",
                (document["deployment"], document["verified_at"], json.dumps(document)),
            )
            prune_verifications(db, document["deployment"])
            return int(cursor.lastrowid or 0)

    def verification(self, deployment: int) -> Document | None:
        """Return the last verification of a deployment, or None."""
        rows = self.read(
            "SELECT document FROM verifications WHERE deployment = ? ORDER BY id DESC LIMIT 1",
            (deployment,),
        )
        return json.loads(rows[0][0]) if rows else None

    def current(self, server_host: str, alias: str) -> Document | None:
        """Return the deployment that an alias serves, or None."""
        return self._latest(server_host, alias, "current")

    def previous(self, server_host: str, alias: str) -> Document | None:
        """Return the deployment that rollback goes back to, or None."""
        return self._latest(server_host, alias, "previous")

    def candidates(self, server_host: str) -> list[Document]:
        """Return what runs have begun and not ended, oldest first.

        Under the lock of the loop these are the leftovers of runs that were killed.
        """
        rows = self.read(
            f"{_COLUMNS} WHERE server_host = ? AND state = 'candidate' ORDER BY id", (server_host,)
        )
        return [_document(r) for r in rows]

    def currents(self, server_host: str) -> list[Document]:
        """Return what every alias of a server serves, newest first."""
        rows = self.read(
            f"{_COLUMNS} WHERE server_host = ? AND state = 'current' ORDER BY id DESC",
            (server_host,),
        )
        return [_document(r) for r in rows]

    def in_use(self, server_host: str) -> list[Document]:
        """Return what some alias of a server serves, or could go back to."""
        rows = self.read(
            f"{_COLUMNS} WHERE server_host = ? AND state IN ('current', 'previous')",
            (server_host,),
        )
        return [_document(r) for r in rows]

    def made(self, server_host: str, model: str, digest: str, *, beside: int) -> bool:
        """Whether a run of ours, other than `beside`, made this derived model or set out to."""
        rows = self.read(
            "SELECT 1 FROM deployments WHERE server_host = ? AND id != ?"
            " AND json_extract(document, '$.model') = ?"
            " AND ifnull(json_extract(document, '$.digest'), ?) = ? LIMIT 1",
            (server_host, beside, model, digest, digest),
        )
        return bool(rows)

    def ended(self, server_host: str, limit: int) -> list[Document]:
        """Return the last deployments of a server that are over: removed or failed."""
        rows = self.read(
            f"{_COLUMNS} WHERE server_host = ? AND state IN ('removed', 'failed')"
            " ORDER BY id DESC LIMIT ?",
            (server_host, limit),
        )
        return [_document(r) for r in rows]

    def deployments(self, limit: int, wanted: Wanted | None = None) -> list[Document]:
        """Return the last deployments, newest first."""
        query = f"{_COLUMNS} WHERE {DEPLOYMENTS} ORDER BY id DESC LIMIT :limit"
        rows = self.read(query, (wanted or Wanted()).values(limit))
        return [_document(r) for r in rows]

    def sighted(self, server_host: str, alias: str, tag: str, now_s: float) -> float:
        """Note that something better was seen; return how many seconds ago it was first seen."""
        with self.writing() as db:
            row = db.execute(
                "SELECT tag, first_at FROM sightings WHERE server_host = ? AND alias = ?",
                (server_host, alias),
            ).fetchone()
            if row and row[0] == tag:
                return float(now_s - row[1])
            db.execute(
                "INSERT OR REPLACE INTO sightings VALUES (?, ?, ?, ?)",
                (server_host, alias, tag, now_s),
            )
        return 0.0

    def forget_sighting(self, server_host: str, alias: str) -> None:
        """Forget that something better was seen: it was not there the next time."""
        key = (server_host, alias)
        if self.read("SELECT tag FROM sightings WHERE server_host = ? AND alias = ?", key):
            with self.writing() as db:
                db.execute("DELETE FROM sightings WHERE server_host = ? AND alias = ?", key)

    def _latest(self, server_host: str, alias: str, state: str) -> Document | None:
        rows = self.read(
            f"{_COLUMNS} WHERE server_host = ? AND alias = ? AND state = ?"
            " ORDER BY id DESC LIMIT 1",
            (server_host, alias, state),
        )
        return _document(rows[0]) if rows else None


def _rewrite(db: sqlite3.Connection, number: int, document: Mapping[str, Any]) -> None:
    db.execute(
        "UPDATE deployments SET document = ? WHERE id = ?",
        (json.dumps({**document, "id": None}), number),
    )


def _restate(db: sqlite3.Connection, key: tuple[str, str], before: str, after: str) -> None:
    db.execute(
        "UPDATE deployments SET state = ? WHERE server_host = ? AND alias = ? AND state = ?",
        (after, *key, before),
    )


def _document(row: tuple[int, str, str]) -> Document:
    """The stored document under its number and the state that it has now."""
    number, state, text = row
    document: Document = json.loads(text)
    return {**older.deployment(document), "id": number, "state": state}
