"""One loop at a time per server and store: the second one is told by whom and since when.

The lock file lies in the model store where we may write there, so that other users and other
DEPLOY_HOMEs see it, and always in our own state folder, for the store may not exist yet. The
kernel drops both with the process: a killed run never blocks the next.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import Busy, DiskFull
from orchestrator.home import Home
from orchestrator.probe.disk import model_store
from orchestrator.probe.server import read_process
from orchestrator.runtime import server_host, systemd_unit


@contextmanager
def only_one(home: Home, environ: Mapping[str, str], what: str) -> Iterator[None]:
    """Hold the locks of this server and its store; `what` is told to whoever comes second.

    Raises Busy: another run holds one; DiskFull: there is no place for one.
    """
    host = server_host(environ)
    url = urlsplit(host)
    with ExitStack() as held:
        held.enter_context(_held(home.state / f"loop-{url.hostname}-{url.port}.lock", what))
        process, unit = read_process(host), systemd_unit()
        store = model_store(process, unit, environ)
        if store and os.access(store, os.W_OK | os.X_OK):
            with suppress(DiskFull):  # a store that is full or read-only is said where it matters
                held.enter_context(_held(store / "deploy.lock", what))
        yield


@contextmanager
def _held(path: Path, what: str) -> Iterator[None]:
    import filelock

    # Whoever may write into the folder takes part, whoever made the file.
    lock = filelock.FileLock(path, mode=0o666)
    holder = path.with_suffix(".lock.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout as e:
        raise Busy(f"another run holds {path}{_by_whom(holder)}", lock=str(path)) from e
    except (OSError, NotImplementedError) as e:
        raise DiskFull(
            f"cannot lock {path}: {e}", hint="set DEPLOY_HOME to a writable folder"
        ) from e
    try:
        with suppress(OSError):  # on a full disk the lock still holds, nameless
            since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            holder.write_text(json.dumps({"pid": os.getpid(), "since": since, "what": what}))
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _by_whom(holder: Path) -> str:
    """Return who it is: written right after the lock is taken, so it may be a moment late."""
    for _ in range(10):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(holder.read_text("utf-8"))
            return f" (`deploy {found['what']}`, pid {found['pid']}, since {found['since']})"
        time.sleep(0.05)
    return ""
