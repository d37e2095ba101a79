"""`deploy pull`: source after source until one has delivered, and every byte accounted for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import DiskFull, ServerRefused
from orchestrator.home import Home
from orchestrator.ledger.pulls import note_pull
from orchestrator.progress import Progress
from orchestrator.pull.chain import Failures, first
from orchestrator.pull.claim import claimed
from orchestrator.pull.turn import turn
from orchestrator.pull.wholeness import layers, mend
from orchestrator.site import Site
from orchestrator.source import Pulled, Source
from orchestrator.store import Layer

_UNSEEN = "the server's store is not ours to read: its files are as the server took them"


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
            "rate_bytes_per_s": round(moved / self.seconds) if moved and self.seconds else None,
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
    name, began = source.final(model), time.monotonic()
    pulled = source.pull(model, progress)
    seconds = time.monotonic() - began
    _note(site, source, name, pulled, seconds, progress)
    found = site.server.find(name)
    if found is None:
        raise ServerRefused(f"{name} was pulled, but the server does not have it")
    store = site.store
    hashed: list[Layer] = []
    if store and (suspects := layers(store, name, pulled.cached)):
        hashed = mend(store, name, suspects, lambda: source.pull(model, progress), progress)
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
        unseen=None if store else _UNSEEN,
        tried=tuple((by, e.what) for by, e in failures),
    )


def _note(
    site: Site, source: Source, name: str, pulled: Pulled, seconds: float, progress: Progress
) -> None:
    """Let the ledger know what moved; without that the model is there all the same."""
    if not pulled.fetched_bytes:
        return
    try:
        note_pull(
            site.ledger,
            host=site.server.host,
            source=source.name,
            model=name,
            fetched_bytes=pulled.fetched_bytes,
            seconds=seconds,
        )
    except DiskFull as e:
        progress.say(f"warning: {e.what}")
