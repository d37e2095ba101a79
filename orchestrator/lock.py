"""One loop at a time per server: the second one is told by whom and since when."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import Busy, DiskFull
from orchestrator.home import Home
from orchestrator.runtime import server_host


@contextmanager
def only_one(home: Home, environ: Mapping[str, str]) -> Iterator[None]:
    """Hold the lock of this server. Raises Busy: another run holds it; DiskFull: no place for it.

    The kernel drops the lock with the process, so a killed run never blocks the next.
    """
    import filelock

    url = urlsplit(server_host(environ))
    path = home.state / f"auto-{url.hostname}-{url.port}.lock"
    holder = path.with_suffix(".json")
    lock = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        holder.write_text(json.dumps({"pid": os.getpid(), "since": since}), "utf-8")
    except filelock.Timeout as e:
        raise Busy(f"another run holds {path}{_by_whom(holder)}") from e
    except OSError as e:
        raise DiskFull(
            f"cannot lock {path}: {e.strerror}", hint="set DEPLOY_HOME to a writable folder"
        ) from e
    try:
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        holder.write_text(json.dumps({"pid": os.getpid(), "since": since}), "utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _by_whom(holder: Path) -> str:
    try:
        found = json.loads(holder.read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return f" (pid {found.get('pid')}, since {found.get('since')})"
