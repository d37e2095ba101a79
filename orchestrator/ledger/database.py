"""The file below the ledger: made when first written, migrated, readable on a read-only disk."""

import sqlite3
from collections.abc import Iterator
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
    """
    CREATE TABLE verifications (
        id INTEGER PRIMARY KEY, deployment INTEGER NOT NULL REFERENCES deployments (id),
        at TEXT NOT NULL, document TEXT NOT NULL);
    CREATE INDEX verifications_by_deployment ON verifications (deployment);
    """,
)


class Database:
    """The file at `path`. Raises DiskFull: it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, query: str, values: tuple[object, ...]) -> list[Any]:
        """Return the rows of a query; a ledger that does not exist yet is empty."""
        if not self.path.exists():
            return []
        # A disk that went read-only must not take `status` away: there the log files of WAL cannot
        # be made, and the file is read as it stands.
        place = f"file:{quote(str(self.path))}"
        with self._mapped():
            try:
                return _rows(f"{place}?mode=ro", query, values)
            except sqlite3.OperationalError as e:
                if "locked" in str(e):  # as it stands it would be read past its log
                    raise
                return _rows(f"{place}?immutable=1", query, values)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in one transaction: all of the block is kept, or nothing."""
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
        try:
            return db.execute(query, values).fetchall()
        except sqlite3.OperationalError as e:
            if "no such table" in str(e):  # written by an older deploy, or by none yet
                return []
            raise


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
