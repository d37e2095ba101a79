"""Where the models of this box lie, and how a bundle gets to them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.errors import (
    InvalidInput,
    MachineElsewhere,
    PullFailed,
    ServerUnreachable,
)
from orchestrator.home import Home
from orchestrator.probe.disk import model_store
from orchestrator.probe.server import ServerProcess
from orchestrator.runtime import systemd_unit
from orchestrator.runtime.listener import is_here
from orchestrator.server import Server
from orchestrator.site import Site
from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A server that answers or not, and its store's folder; None: it is not known to us here.

    `certain`: the server's own environment says so, and it is no guess.
    """

    server: Server
    answers: bool
    folder: Path | None
    certain: bool

    @classmethod
    def of(cls, server: Server, store_path: str | None, process: ServerProcess | None) -> Self:
        """Return the place of a server that answers, whose process is as it was seen."""
        return cls(
            server=server,
            answers=True,
            folder=Path(store_path) if store_path else None,
            certain=process is not None and process.environ_known,
        )

    @classmethod
    def at(cls, home: Home, environ: Mapping[str, str]) -> Self:
        """Return the place that OLLAMA_HOST means; where no server answers, of one to be started.

        Raises ServerUnreachable: none answers, and the address is another machine's.
        """
        site = Site.at(home, environ)
        if _answers(site.server):
            return cls.of(site.server, site.store_path, site.process)
        if not is_here(site.server.host):
            what = f"no Ollama server answers at {site.server.host}, another machine"
            raise ServerUnreachable(what)
        folder = model_store(site.process, systemd_unit(), environ)
        return cls(server=site.server, answers=False, folder=folder, certain=True)

    def to_read(self) -> Store:
        """Return the store. Raises MachineElsewhere: not on this machine; InvalidInput."""
        if self.folder is None:
            raise MachineElsewhere(
                f"the store of the Ollama server at {self.server.host} cannot be seen from here",
                hint="run `deploy bundle create` on the server's own host, as its user or as root",
            )
        if store := Store.at(str(self.folder)):
            return store
        seen = _seen(self.folder)
        if seen == self.folder or not os.access(seen, os.R_OK | os.X_OK):
            raise InvalidInput(
                f"the store {self.folder} cannot be read by this account",
                hint="run `deploy bundle create` as the server's user, or as root",
            )
        raise InvalidInput(
            f"there is no store that we know at {self.folder}",
            hint="set OLLAMA_MODELS or OLLAMA_HOST to where the models are",
        )

    def to_write(self) -> Path | None:
        """Return the store's folder, there or to be made, if its files could be the server's own.

        None: only the server itself can put a model there.
        """
        if self.folder is None or not self.certain:
            return None
        parent = _seen(self.folder)
        store = Store.at(str(self.folder))
        if parent == self.folder and (store is None or not store.writable):
            return None
        blobs = self.folder / "blobs"
        owner = (blobs if store and blobs.exists() else parent).stat().st_uid
        # The server could read files of another user's, but never replace or remove them.
        ours = os.geteuid() in {0, owner} and os.access(parent, os.W_OK | os.X_OK)
        return self.folder if ours else None

    def confirm(self, digests: Mapping[str, str]) -> None:
        """Raise PullFailed if a server that answers has not these digests under these names."""
        if not self.answers:
            return
        for name, digest in digests.items():
            found = self.server.find(name)
            if found is None or found.digest != digest:
                raise PullFailed(
                    f"{name} is in {self.folder}, and the server at {self.server.host} does not "
                    "list it: its store is another",
                    hint="add --through-api, which asks the server itself",
                )


def _seen(path: Path) -> Path:
    """Return the folder, or the nearest one above it that this account can see."""
    return next(p for p in (path, *path.parents) if os.access(p, os.F_OK))


def _answers(server: Server) -> bool:
    try:
        server.version()
    except ServerUnreachable:
        return False
    return True
