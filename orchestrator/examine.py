"""The doctor's rounds: look at the box, its server, the store and the ledger; change nothing."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orchestrator.catalog import Catalog
from orchestrator.doctor import Case
from orchestrator.errors import DeployError, DiskFull
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.probe.server import ServerProcess, read_process
from orchestrator.probe.settings import proxy_of
from orchestrator.runtime import server_host
from orchestrator.runtime.proc import comm, status
from orchestrator.standing import standing
from orchestrator.store import Store
from orchestrator.survey import Survey

_WRITE = 2


def rounds(home: Home, environ: Mapping[str, str], alias: str, seen: Survey) -> Case:
    """Return what there is to examine, with every part that could not be seen left out."""
    process = read_process(seen.server.host)
    store = Store.at(seen.machine.disk.model_store)
    document, ledger_fault = _stood(home, environ, alias, answers=seen.answers)
    deployment = document.get("deployment") or {}
    torn = store.torn() if store else []
    return Case(
        machine=seen.machine,
        answers=seen.answers,
        our_proxy=proxy_of(environ),
        smallest_bytes=min(c.file_bytes for c in Catalog.bundled().candidates),
        writable=store.writable if store else None,
        closed=_closed(store, process) if store and process else None,
        deployed=deployment.get("model"),
        findings=tuple(document.get("findings", ())) if deployment else (),
        refusal=seen.refusal.what if seen.refusal else None,
        holder=_holder(process) if process and not seen.answers else None,
        torn=tuple(torn),
        ledger_fault=ledger_fault,
    )


def _closed(store: Store, process: ServerProcess) -> str | None:
    """Return the folder of the store that the server's own user may not write; None: none."""
    for folder in (store.path, store.path / "blobs", store.path / "manifests"):
        with suppress(OSError):
            found = folder.stat()
            owner, group = found.st_uid, found.st_gid
            if not process.rights.allow(_WRITE, mode=found.st_mode, owner=owner, group=group):
                return str(folder)
    return None


def _holder(process: ServerProcess) -> str:
    """Return who holds the port of a server that does not answer."""
    state = status(process.pid).get("State", "")
    stopped = ", stopped" if state.startswith("T") else ""
    return f"pid {process.pid} ({comm(process.pid)}, user {process.user or 'unknown'}{stopped})"


def _stood(
    home: Home, environ: Mapping[str, str], alias: str, *, answers: bool
) -> tuple[dict[str, Any], str | None]:
    try:
        if answers:
            found = standing(home, environ, alias)
        else:  # not asked a second time: that would wait for its own time limit
            host = server_host(environ)
            found = {"deployment": Ledger(home.ledger).current(host, f"{alias}:latest")}
    except DiskFull as e:  # what the ledger raises
        return {}, e.what
    except DeployError:
        return {}, None
    return found, None
