"""The ledger: everything that was planned, deployed and measured, in one SQLite file (WAL).

Rows hold the JSON documents of the contracts; columns are only what is searched by. Every estimate
stays beside its measurement, so the next plan can be graded by it.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.errors import DiskFull

_BUSY_S = 10.0
_MIGRATIONS = (
    """
    CREATE TABLE machines (digest TEXT PRIMARY KEY, document TEXT NOT NULL);
    CREATE TABLE deployments (
        id INTEGER PRIMARY KEY, alias TEXT NOT NULL, state TEXT NOT NULL, server_host TEXT NOT NULL,
        tag TEXT NOT NULL, at TEXT NOT NULL, document TEXT NOT NULL);
    CREATE INDEX deployments_by_alias ON deployments (server_host, alias, state);
    CREATE TABLE bench_runs (
        id INTEGER PRIMARY KEY, model TEXT NOT NULL, machine TEXT NOT NULL, at TEXT NOT NULL,
        deployment INTEGER REFERENCES deployments (id), document TEXT NOT NULL);
    CREATE TABLE sightings (
        server_host TEXT NOT NULL, alias TEXT NOT NULL, tag TEXT NOT NULL, first_at REAL NOT NULL,
        PRIMARY KEY (server_host, alias));
    """,
)


class Ledger:
    """Opens (and makes) the file at `path`. Raises DiskFull: it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record_deployment(
        self, document: dict[str, Any], bench: Mapping[str, Any] | None, machine: dict[str, Any]
    ) -> int:
        """Store a deployment with its measurement in one transaction; return its number.

        A new current deployment turns the one before it into "previous".
        """
        with self._writing() as db:
            key = (document["server_host"], document["alias"])
            db.execute(
                "INSERT OR REPLACE INTO machines VALUES (?, ?)",
                (document["machine"]["digest"], json.dumps(machine)),
            )
            if document["state"] == "current":
                _restate(db, key, "previous", "removed")
                _restate(db, key, "current", "previous")
            cursor = db.execute(
                "INSERT INTO deployments (alias, state, server_host, tag, at, document)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    key[1],
                    document["state"],
                    key[0],
                    document["tag"],
                    document["deployed_at"],
                    json.dumps(document),
                ),
            )
            number = int(cursor.lastrowid or 0)
            if bench:
                _insert_bench(db, bench, number)
            db.execute("DELETE FROM sightings WHERE server_host = ? AND alias = ?", key)
        return number

    def record_bench(self, bench: dict[str, Any]) -> int:
        """Store a bench run that belongs to no deployment; return its number."""
        with self._writing() as db:
            return _insert_bench(db, bench, None)

    def current(self, server_host: str, alias: str) -> dict[str, Any] | None:
        """Return the deployment that an alias serves, or None."""
        rows = self._read(
            "SELECT id, state, document FROM deployments"
            " WHERE server_host = ? AND alias = ? AND state = 'current' ORDER BY id DESC LIMIT 1",
            (server_host, alias),
        )
        return _document(rows[0]) if rows else None

    def currents(self, server_host: str) -> list[dict[str, Any]]:
        """Return what every alias of a server serves, newest first."""
        rows = self._read(
            "SELECT id, state, document FROM deployments"
            " WHERE server_host = ? AND state = 'current' ORDER BY id DESC",
            (server_host,),
        )
        return [_document(r) for r in rows]

    def models_in_use(self, server_host: str) -> set[str]:
        """Return the derived models that some alias serves, or could go back to."""
        rows = self._read(
            "SELECT id, state, document FROM deployments"
            " WHERE server_host = ? AND state IN ('current', 'previous')",
            (server_host,),
        )
        return {str(_document(r)["model"]) for r in rows}

    def deployments(self, limit: int) -> list[dict[str, Any]]:
        """Return the last deployments, newest first."""
        rows = self._read(
            "SELECT id, state, document FROM deployments ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [_document(r) for r in rows]

    def bench_runs(self, limit: int) -> list[dict[str, Any]]:
        """Return the last bench runs with their raw samples, newest first."""
        rows = self._read(
            "SELECT id, deployment, document FROM bench_runs ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [{**json.loads(d), "id": i, "deployment": owner} for i, owner, d in rows]

    def sighted(self, server_host: str, alias: str, tag: str, now_s: float) -> float:
        """Note that something better was seen; return how many seconds ago it was first seen."""
        with self._writing() as db:
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

    def _read(self, query: str, values: tuple[object, ...]) -> list[Any]:
        """Return the rows of a query; a ledger that does not exist yet is empty."""
        if not self.path.exists():
            return []
        # A disk that went read-only must not take `status` away: there the log files of WAL cannot
        # be made, and the file is read as it stands.
        place = f"file:{quote(str(self.path))}"
        try:
            return _rows(f"{place}?mode=ro", query, values)
        except sqlite3.OperationalError:
            with self._mapped():
                return _rows(f"{place}?immutable=1", query, values)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db, db:
            db.execute("BEGIN IMMEDIATE")
            yield db

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._mapped():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                _migrate(db)
                yield db

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as e:
            raise DiskFull(
                f"the ledger {self.path} cannot be used: {e}",
                hint="free or repair that disk, or set DEPLOY_HOME to a folder that is writable",
            ) from e


def _rows(uri: str, query: str, values: tuple[object, ...]) -> list[Any]:
    with closing(sqlite3.connect(uri, timeout=_BUSY_S, uri=True)) as db:
        return db.execute(query, values).fetchall() if _version(db) else []


def _migrate(db: sqlite3.Connection) -> None:
    if _version(db) >= len(_MIGRATIONS):
        return
    with db:
        db.execute("BEGIN IMMEDIATE")
        # Read again: another run may have been first.
        for number, script in enumerate(_MIGRATIONS[(done := _version(db)) :], done + 1):
            for statement in script.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")


def _version(db: sqlite3.Connection) -> int:
    [version] = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _restate(db: sqlite3.Connection, key: tuple[str, str], before: str, after: str) -> None:
    db.execute(
        "UPDATE deployments SET state = ? WHERE server_host = ? AND alias = ? AND state = ?",
        (after, *key, before),
    )


def _insert_bench(db: sqlite3.Connection, bench: Mapping[str, Any], deployment: int | None) -> int:
    cursor = db.execute(
        "INSERT INTO bench_runs (model, machine, at, deployment, document) VALUES (?, ?, ?, ?, ?)",
        (
            bench["model"],
            bench["machine"]["digest"],
            bench["started_at"],
            deployment,
            json.dumps(bench),
        ),
    )
    return int(cursor.lastrowid or 0)


def _document(row: tuple[int, str, str]) -> dict[str, Any]:
    """The stored document under its number and the state that it has now."""
    number, state, text = row
    document: dict[str, Any] = json.loads(text)
    return {**document, "id": number, "state": state}
