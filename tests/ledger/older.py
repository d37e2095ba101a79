"""Ledger files as deploy 0.1 wrote them: its tables, its documents."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.bench.documents import document

_TABLES = (
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
_KEYS = (
    "schema", "model", "digest", "quantization", "server_version", "runtime", "machine",
    "started_at", "options", "context", "parallel", "kv_cache_type", "prompt", "generate_tokens",
    "stopped", "wall_s", "clocks_disagree", "metrics", "samples", "rejected", "noise", "memory",
    "verdict",
)  # fmt: skip
_LATER_MEMORY = ("filled_tokens", "filled_share", "parts")
DEPLOYED: dict[str, Any] = {
    "tag": "qwen3:8b",
    "model": "deploy/qwen3:8b-ctx4096",
    "alias": "deploy-current:latest",
    "server_host": "http://127.0.0.1:11434",
    "machine": {"name": "a box", "digest": "0123456789abcdef"},
    "deployed_at": "2026-01-01T00:00:00Z",
}


def older_bench(*, noisy: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the document of deploy 0.1, of whose samples that many are noisy."""
    new = document(**changes)
    samples = [
        {k: v for k, v in s.items() if k != "devices"} | {"noisy": number < noisy}
        for number, s in enumerate(s for s in new["samples"] if s["outcome"] == "ok")
    ]
    return {k: new[k] for k in _KEYS} | {
        "samples": samples,
        "metrics": {k: v for k, v in new["metrics"].items() if k != "load_cold_s"},
        "memory": {k: v for k, v in new["memory"].items() if k not in _LATER_MEMORY},
    }


def older_ledger(path: Path, *, version: int, texts: tuple[str, ...] = ()) -> int:
    """Write a ledger with one deployment, its run, and runs of these texts; return how many."""
    texts = texts or (json.dumps(older_bench()),)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript("".join(_TABLES[:version]))
        db.execute(f"PRAGMA user_version = {version}")
        db.execute(
            "INSERT INTO deployments (alias, state, server_host, tag, at, document)"
            " VALUES (:alias, 'current', :server_host, :tag, :deployed_at, :document)",
            DEPLOYED | {"document": json.dumps(DEPLOYED)},
        )
        for text in texts:
            run = json.loads(text)
            db.execute(
                "INSERT INTO bench_runs (model, machine, at, deployment, document)"
                " VALUES (?, ?, ?, 1, ?)",
                (run["model"], run["machine"]["digest"], run["started_at"], text),
            )
    return len(texts)
