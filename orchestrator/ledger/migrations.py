"""The tables of the ledger, as steps from an empty file. Steps are only ever added.

Each is split at its semicolons, so no text within one may have any.
"""

import sqlite3

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
    # The table is made anew, for SQLite reads a row from its beginning: what is short must stand
    # before the document. A run of an older deploy has no key, so it is compared with none.
    """
    ALTER TABLE bench_runs RENAME TO older_runs;
    CREATE TABLE bench_runs (
        id INTEGER PRIMARY KEY, model TEXT NOT NULL, machine TEXT NOT NULL, at TEXT NOT NULL,
        deployment INTEGER REFERENCES deployments (id), key TEXT, standing TEXT NOT NULL,
        figures TEXT NOT NULL, document TEXT NOT NULL);
    CREATE INDEX bench_runs_by_key ON bench_runs (key, standing);
    CREATE INDEX bench_runs_by_deployment ON bench_runs (deployment);
    CREATE TABLE bench_samples (
        run INTEGER PRIMARY KEY REFERENCES bench_runs (id), samples TEXT NOT NULL);
    CREATE TABLE pins (
        key TEXT PRIMARY KEY, run INTEGER NOT NULL UNIQUE REFERENCES bench_runs (id),
        at TEXT NOT NULL);
    INSERT INTO bench_samples
        SELECT id, json_extract(document, '$.samples') FROM older_runs
        WHERE json_valid(document) AND json_type(document, '$.samples') = 'array';
    INSERT INTO bench_runs
        SELECT id, model, machine, at, deployment, NULL, 'out',
            json_object(
                'quantization', json_extract(document, '$.quantization'),
                'server_version', json_extract(document, '$.server_version'),
                'runtime', json_extract(document, '$.runtime'),
                'context', json_extract(document, '$.context'),
                'parallel', json_extract(document, '$.parallel'),
                'decode_tps', json_extract(document, '$.metrics.decode_tps.median'),
                'decode_low', json_extract(document, '$.metrics.decode_tps.ci_low'),
                'decode_high', json_extract(document, '$.metrics.decode_tps.ci_high'),
                'prefill_tps', json_extract(document, '$.metrics.prefill_tps.median'),
                'ttft_s', json_extract(document, '$.metrics.ttft_s.median'),
                'load_s', json_extract(document, '$.metrics.load_s.median'),
                'resident_bytes', json_extract(document, '$.memory.resident_bytes'),
                'vram_bytes', (
                    SELECT CASE WHEN count(*) = count(json_extract(value, '$.bytes'))
                        THEN sum(json_extract(value, '$.bytes')) END
                    FROM json_each(document, '$.memory.devices')),
                'verdict', json_extract(document, '$.verdict.outcome'),
                'noisy', json((
                    SELECT CASE WHEN count(*) > 0 THEN iif(
                        count(*) - sum(json_extract(value, '$.noisy')) < 0.6 * count(*),
                        'true', 'false') END
                    FROM json_each(document, '$.samples')
                    WHERE CASE type WHEN 'object' THEN json_extract(value, '$.outcome') END = 'ok'))
            ),
            json_remove(document, '$.samples')
        FROM older_runs WHERE json_valid(document);
    INSERT INTO bench_runs
        SELECT id, model, machine, at, deployment, NULL, 'out', '{}', document
        FROM older_runs WHERE NOT json_valid(document);
    DROP TABLE older_runs
    """,
    """
    CREATE TABLE pulls (
        id INTEGER PRIMARY KEY, at TEXT NOT NULL, server_host TEXT NOT NULL, source TEXT NOT NULL,
        model TEXT NOT NULL, digest TEXT NOT NULL, bytes INTEGER NOT NULL, seconds REAL NOT NULL,
        origin TEXT, content TEXT);
    CREATE INDEX pulls_by_source ON pulls (source, id);
    CREATE INDEX pulls_by_model ON pulls (server_host, model, id)
    """,
)


def is_current(db: sqlite3.Connection) -> bool:
    """Whether a file has all of these tables: this deploy, or a newer one, wrote it."""
    return _version(db) >= len(_MIGRATIONS)


def migrate(db: sqlite3.Connection) -> None:
    """Bring a file up to these tables, in one transaction."""
    if is_current(db):
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
