"""The file below the ledger: made when first written, migrated, readable on a read-only disk."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.errors import DiskFull
from orchestrator.ledger.migrations import is_current, migrate

Values = tuple[object, ...] | Mapping[str, object]
"""Of a query, by place or by name."""
_BUSY_S = 10.0


class Database:
    """The file at `path`. Raises DiskFull: it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, query: str, values: Values) -> list[Any]:
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
                _let_readers_in(db)
                migrate(db)
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


def _let_readers_in(db: sqlite3.Connection) -> None:
    """Turn WAL on. SQLite itself does not wait for the lock that a new file's switch takes."""
    end = time.monotonic() + _BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as e:
            if "locked" not in str(e) or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _rows(uri: str, query: str, values: Values) -> list[Any]:
    with closing(sqlite3.connect(uri, timeout=_BUSY_S, uri=True)) as db:
        if is_current(db):
            return db.execute(query, values).fetchall()
        # Written by an older deploy. To read writes nothing, so a copy is brought up to date.
        with closing(sqlite3.connect(":memory:")) as copy:
            db.backup(copy)
            migrate(copy)
            return copy.execute(query, values).fetchall()
