"""`deploy pull`: source after source until one has delivered, and every byte accounted for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import DiskFull, ServerRefused
from orchestrator.home import Home
from orchestrator.ledger.pulls import Pull, note_pull
from orchestrator.progress import Progress
from orchestrator.pull.chain import Failures, first
from orchestrator.pull.claim import claimed
from orchestrator.pull.provenance import is_there, origin_at
from orchestrator.pull.turn import turn
from orchestrator.pull.wholeness import layers, mend, undo_mend
from orchestrator.server.shown import Installed
from orchestrator.site import Site
from orchestrator.source import Pulled, Source
from orchestrator.store import Layer, Store

_UNSEEN = "the server's store is not ours to read: its files are as the server took them"
_UNREAD = "files that the server had before are not ours to read: nobody looked into them"


@dataclass(frozen=True, kw_only=True, slots=True)
class Obtained:
    """A model that the server has now. `digest` is that of its manifest, in hex.

    `hashed` are the layers that we read; the others were verified by whoever fetched them in this
    run. `unseen` says why none could be read. `tried` are sources that failed before.
    """

    name: str
    source: str
    address: str
    server_host: str
    digest: str
    pulled: Pulled
    seconds: float
    layers: tuple[Layer, ...]
    hashed: tuple[Layer, ...] = ()
    unseen: str | None = None
    tried: tuple[tuple[str, str], ...] = ()

    @property
    def fetch_s(self) -> float:
        """How long the files took to come; the import of some takes longer."""
        return self.seconds if self.pulled.fetch_s is None else self.pulled.fetch_s

    def to_json(self) -> dict[str, Any]:
        """Return the document of `deploy pull` (schema `pull`)."""
        moved = self.pulled.fetched_bytes
        return {
            "schema": 1,
            "name": self.name,
            "source": self.source,
            "address": self.address,
            "server_host": self.server_host,
            "digest": self.digest,
            "fetched_bytes": moved,
            "seconds": round(self.seconds, 3),
            "rate_bytes_per_s": round(moved / self.fetch_s) if moved and self.fetch_s else None,
            "outcome": "unverified" if self.unseen else "verified",
            "detail": self.unseen,
            "layers": [each.to_json() for each in self.layers],
            "hashed": [each.digest for each in self.hashed],
            "tried": [{"source": name, "failure": what} for name, what in self.tried],
        }


def obtain(
    site: Site, home: Home, model: str, sources: Sequence[Source], progress: Progress
) -> Obtained:
    """Return the model when all its files are on the server, whole.

    Raises PullFailed and its kinds: what each source said; DiskFull, ServerUnreachable,
    ServerRefused, InvalidInput.
    """

    def attempt(source: Source, failures: Failures) -> Obtained:
        with (
            turn(home, site.server.host, source.final(model), progress),
            claimed(home, site.server, source, model),
        ):
            return _from(site, model, source, failures, progress)

    return first(sources, model, attempt, progress)


def _from(
    site: Site,
    model: str,
    source: Source,
    failures: Failures,
    progress: Progress,
) -> Obtained:
    name, origin = source.final(model), origin_at(source, model, progress)
    undo_mend(site.store, name)
    there, began = is_there(site.server, site.ledger, name, origin), time.monotonic()
    if there:
        progress.say(f"{name} is on the server already: nothing to download")
    pulled = Pulled() if there else source.pull(model, progress)
    seconds = time.monotonic() - began
    store, moved = _holding(site, _found(site, name)), [pulled]

    def again() -> Pulled:
        moved.append(source.pull(model, progress))
        return moved[-1]

    hashed: list[Layer] = []
    suspects = layers(store, name, None if there else pulled.cached) if store else []
    if store and suspects:
        hashed = mend(store, name, suspects, again, progress)
    pulled = replace(pulled, fetched_bytes=sum(each.fetched_bytes for each in moved))
    found = _found(site, name)
    if pulled.fetched_bytes or origin:
        pull = Pull(
            host=site.server.host,
            source=source.name,
            model=found.name,
            digest=found.digest,
            fetched_bytes=pulled.fetched_bytes,
            seconds=seconds if pulled.fetch_s is None else pulled.fetch_s,
            origin=origin,
        )
        _note(site, pull, progress)
    unread = _UNREAD if suspects and not hashed else None
    return Obtained(
        name=found.name,
        source=source.name,
        address=source.address,
        server_host=site.server.host,
        digest=found.digest,
        pulled=pulled,
        seconds=seconds,
        layers=tuple(layers(store, name)) if store else (),
        hashed=tuple(hashed),
        unseen=unread if store else _UNSEEN,
        tried=tuple((by, e.what) for by, e in failures),
    )


def _found(site: Site, name: str) -> Installed:
    found = site.server.find(name)
    if found is None:
        raise ServerRefused(f"{name} was pulled, but the server does not have it")
    return found


def _holding(site: Site, found: Installed) -> Store | None:
    """Return the store if what the server lists is in it; another one says nothing of it."""
    store = site.store
    manifest = store.manifest(found.name) if store else None
    return store if manifest and manifest.digest == found.digest else None


def _note(site: Site, pull: Pull, progress: Progress) -> None:
    """Let the ledger know; without that the model is there all the same."""
    try:
        note_pull(site.ledger, pull)
    except DiskFull as e:
        progress.say(f"warning: {e.what}")
