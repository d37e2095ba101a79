"""Where something is deployed: the server's API, what of it lies on this machine, our ledger."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import ServerRefused, ServerUnreachable
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.probe.disk import model_store
from orchestrator.probe.server import ServerProcess, read_process
from orchestrator.runtime import Runner, server_host, systemd_unit
from orchestrator.server import Server
from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Cheaper than a survey: no device is asked.

    `process` and `store` are None where the server or its files are not ours to see; `store_path`
    is where the files lie as far as that is known.
    """

    server: Server
    ledger: Ledger
    process: ServerProcess | None
    store_path: str | None

    @classmethod
    def at(cls, home: Home, environ: Mapping[str, str]) -> Self:
        """Return the site of OLLAMA_HOST. Only a server whose environment is hidden is asked."""
        server = Server(server_host(environ))
        process, path = read_process(server.host), None
        # Without its process the server may be elsewhere, and that path here another's store.
        if process:
            blob = None if process.environ_known else _revealed(server)
            path = model_store(process, systemd_unit(), environ, revealed=blob)
            if blob is None and not process.settings_known and _anothers(server, path):
                path = None
        return cls(
            server=server,
            ledger=Ledger(home.ledger),
            process=process,
            store_path=str(path) if path else None,
        )

    @property
    def store(self) -> Store | None:
        """The server's store, looked up anew: a server makes it with its first model."""
        return Store.at(self.store_path)

    def runners(self) -> tuple[Runner, ...]:
        """Return the processes that hold models at this moment."""
        process = read_process(self.server.host)
        return process.runners if process else ()

    def current(self, alias: str) -> dict[str, Any] | None:
        """Return what the ledger says that `alias` serves."""
        return self.ledger.current(self.server.host, f"{alias}:latest")

    def previous(self, alias: str) -> dict[str, Any] | None:
        """Return what the ledger says that `alias` could go back to."""
        return self.ledger.previous(self.server.host, f"{alias}:latest")

    def digest(self, name: str) -> str | None:
        """Return the digest that the server lists under a name; None: absent or torn."""
        found = self.server.find(name)
        return None if found is None else found.digest


def _anothers(server: Server, path: Path | None) -> bool:
    """Whether the store at a path that was guessed has other models than the server lists."""
    store = Store.at(str(path)) if path else None
    if store is None:
        return False
    with suppress(ServerRefused, ServerUnreachable):
        return store.names().keys() != {m.name for m in server.installed()}
    return True


def _revealed(server: Server) -> str | None:
    """Return the path of a blob as the server tells it; None: it has none, or does not answer."""
    with suppress(ServerRefused, ServerUnreachable):
        # A model of a cloud has no blob: one of the first will do.
        names = [m.name for m in server.installed()[:5]]
        return next(filter(None, map(server.blob_path, names)), None)
    return None
