"""Bench runs: whole documents, light rows of figures, and which runs others are held against."""

import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.errors import InvalidInput
from orchestrator.ledger import figures as of_run
from orchestrator.ledger import older
from orchestrator.ledger.database import Database, Values
from orchestrator.ledger.retention import BASELINE_RUNS, prune_samples
from orchestrator.ledger.search import BENCH_RUNS, Wanted

Document = dict[str, Any]
_HIGHEST = 2**63 - 1  # of SQLite's integers
_ROWS = 1_000_000
_WHOLE = """
    SELECT b.id, b.deployment, iif(p.run IS NULL, b.standing, 'pinned'), b.document, s.samples
    FROM bench_runs b
    LEFT JOIN bench_samples s ON s.run = b.id LEFT JOIN pins p ON p.run = b.id
"""
_LIGHT = """
    SELECT b.id, b.at, b.model, b.machine, b.key, iif(p.run IS NULL, b.standing, 'pinned'),
        b.deployment, b.figures
    FROM bench_runs b LEFT JOIN pins p ON p.run = b.id
"""
_COLUMNS = ("id", "at", "model", "machine", "key", "standing", "deployment")
FIGURES = (*_COLUMNS, *of_run.NAMES)
"""The keys of a light row, in order."""
_UNKNOWN = dict.fromkeys(of_run.NAMES)


class Benches(Database):
    """The bench runs of the ledger at `path`.

    Documents come with what only the ledger knows: `id`, the run's number; `deployment`, of which
    it was the proof, or None; `standing`: baseline, pinned, or out (see `figures.unusable`).
    """

    def record_bench(
        self,
        bench: Mapping[str, Any],
        deployment: int | None = None,
        *,
        machine: Mapping[str, Any] | None = None,
    ) -> int:
        """Store a bench run, of a deployment or of none, and the machine as it was probed for it;
        return its number.
        """
        with self.writing() as db:
            if machine is not None:
                keep_machine(db, bench["machine"]["digest"], machine)
            return insert_bench(db, bench, deployment)

    def machine(self, digest: str) -> Document | None:
        """Return a machine as it was last probed for a deployment or a bench run, or None."""
        found = self.read("SELECT document FROM machines WHERE digest = ?", (digest,))
        return dict(json.loads(found[0][0])) if found else None

    def judge(self, number: int, comparison: Mapping[str, Any]) -> None:
        """Write a run's comparison anew: a second run confirmed or refuted what it showed."""
        with self.writing() as db:
            [(document, text)] = db.execute(
                "SELECT document, figures FROM bench_runs WHERE id = ?", (number,)
            )
            bench = {**json.loads(document), "comparison": comparison}
            found = {**_UNKNOWN, **json.loads(text), "comparison": comparison["outcome"]}
            db.execute(
                "UPDATE bench_runs SET document = ?, figures = ?, standing = ? WHERE id = ?",
                (json.dumps(bench), json.dumps(found), _standing(bench, found), number),
            )

    def pin(self, number: int) -> None:
        """Make a run the baseline that its key keeps, in place of the one before.

        Also one that is slower than those before it: that is how a loss is accepted.
        Raises InvalidInput: there is no such run, or it tells nothing of speed.
        """
        bench = self.known_run(number)
        [(text,)] = self.read("SELECT figures FROM bench_runs WHERE id = ?", (number,))
        if why := of_run.unfit(bench, {**_UNKNOWN, **json.loads(text)}):
            raise InvalidInput(
                f"bench run {number} cannot be a baseline: {why}",
                hint="`deploy history --what bench` marks the runs that can",
            )
        with self.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO pins VALUES (?, ?, ?)",
                (bench["key"], number, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
            )

    def known_run(self, number: int) -> Document:
        """Return a bench run with its samples. Raises InvalidInput, naming those that there are."""
        if (found := self.bench_run(number)) is not None:
            return found
        known = self.read("SELECT min(id), max(id) FROM bench_runs", ())
        first, last = known[0] if known else (None, None)
        there_are = "none was recorded yet" if first is None else f"there are {first} to {last}"
        raise InvalidInput(
            f"there is no bench run {number}: {there_are}",
            hint="`deploy history --what bench` lists the runs with their numbers",
        )

    def bench_run(self, number: int) -> Document | None:
        """Return a bench run with its samples, or None: there is no such run."""
        if not 0 < number <= _HIGHEST:
            return None
        found = self._whole("WHERE b.id = ?", (number,))
        return found[0] if found else None

    def bench_runs(self, limit: int, wanted: Wanted | None = None) -> list[Document]:
        """Return the last bench runs with their raw samples, newest first."""
        values = (wanted or Wanted()).values(limit)
        return self._whole(f"WHERE {BENCH_RUNS} ORDER BY b.id DESC LIMIT :limit", values)

    def baseline(self, key: str, limit: int = BASELINE_RUNS) -> list[Document]:
        """Return the newest usable runs of a key with their samples, oldest first."""
        found = self._whole(
            "WHERE b.key = ? AND b.standing = 'baseline' ORDER BY b.id DESC LIMIT ?", (key, limit)
        )
        return found[::-1]

    def last_judged(self, key: str) -> Document | None:
        """Return the newest run of a key whose speed was held against others, or None: one that
        noise spoilt, or that nobody compared, settles no suspicion.
        """
        found = self._whole(
            "WHERE b.key = ? AND json_extract(b.figures, '$.comparison') <> 'inconclusive'"
            " ORDER BY b.id DESC LIMIT 1",
            (key,),
        )
        return found[0] if found else None

    def pinned(self, key: str) -> Document | None:
        """Return the run that is pinned as the baseline of a key, or None."""
        found = self._whole("WHERE p.key = ?", (key,))
        return found[0] if found else None

    def figures(
        self,
        *,
        model: str | None = None,
        machine: str | None = None,
        key: str | None = None,
        since: datetime | None = None,
        limit: int = _ROWS,
    ) -> list[Document]:
        """Return the figures of bench runs (keys: FIGURES), newest first, without documents.

        The filters are those of `Wanted`.
        """
        wanted = Wanted(model=model, machine=machine, key=key, since=since)
        query = f"{_LIGHT} WHERE {BENCH_RUNS} ORDER BY b.id DESC LIMIT :limit"
        rows = self.read(query, wanted.values(limit))
        # One text is read much faster than ten thousand.
        found = json.loads(f"[{','.join(text for *_, text in rows)}]")
        return [
            {**dict(zip(_COLUMNS, row, strict=False)), **_UNKNOWN, **own}
            for row, own in zip(rows, found, strict=True)
        ]

    def _whole(self, clause: str, values: Values) -> list[Document]:
        return [_document(*row) for row in self.read(f"{_WHOLE} {clause}", values)]


def keep_machine(db: sqlite3.Connection, digest: str, machine: Mapping[str, Any]) -> None:
    """Store a machine as it was probed, in place of what was known of it."""
    db.execute("INSERT OR REPLACE INTO machines VALUES (?, ?)", (digest, json.dumps(machine)))


def insert_bench(db: sqlite3.Connection, bench: Mapping[str, Any], deployment: int | None) -> int:
    """Store a bench run and let go the samples of an old one; return its number."""
    found = of_run.figures(bench)
    document = {k: v for k, v in bench.items() if k != "samples"}
    cursor = db.execute(
        "INSERT INTO bench_runs (model, machine, at, deployment, key, standing, figures, document)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            bench["model"],
            bench["machine"]["digest"],
            bench["started_at"],
            deployment,
            bench.get("key"),
            _standing(bench, found),
            json.dumps(found),
            json.dumps(document),
        ),
    )
    number = int(cursor.lastrowid or 0)
    samples = json.dumps(bench.get("samples") or [])
    db.execute("INSERT INTO bench_samples VALUES (?, ?)", (number, samples))
    prune_samples(db)
    return number


def _standing(bench: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    return "out" if of_run.unusable(bench, found) else "baseline"


def _document(
    number: int, deployment: int | None, standing: str, text: str, samples: str | None
) -> Document:
    """The stored document with its samples, and what the ledger knows of the run beside it."""
    document: Document = json.loads(text)
    if samples is not None:
        document["samples"] = json.loads(samples)
    known = {"id": number, "deployment": deployment, "standing": standing}
    return {**older.bench(document), **known}
