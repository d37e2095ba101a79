"""Whether the files of a model in the store are what its manifest names: `deploy verify MODEL`."""

from dataclasses import dataclass
from typing import Any

from orchestrator.errors import InvalidInput
from orchestrator.model import ModelRef
from orchestrator.progress import Progress
from orchestrator.pull.wholeness import layers
from orchestrator.site import Site
from orchestrator.store import Damage, Layer, Store
from orchestrator.units import gb


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """`damaged` are the files that are not what their digests say; `why` says what was not seen."""

    name: str
    server_host: str
    layers: tuple[Layer, ...]
    damaged: tuple[Damage, ...] = ()
    why: str | None = None

    @property
    def outcome(self) -> str:
        """Return passed, failed, or unverified: then nobody looked."""
        if self.why:
            return "unverified"
        return "failed" if self.damaged else "passed"

    @property
    def detail(self) -> str:
        """One sentence with the numbers, and the next command."""
        if self.why:
            return self.why
        size = gb(sum(each.size_bytes for each in self.layers))
        if not self.damaged:
            return f"{len(self.layers)} files, {size}, have the bytes of their digests"
        faults = "; ".join(f"{each.digest} {each.detail}" for each in self.damaged)
        return f"{faults}: `deploy pull {self.name}` fetches what is damaged again"

    def to_json(self) -> dict[str, Any]:
        """Return the document of `deploy verify MODEL` (schema `verified`)."""
        faults = {each.digest: each for each in self.damaged}
        return {
            "schema": 1,
            "model": self.name,
            "server_host": self.server_host,
            "outcome": self.outcome,
            "detail": self.detail,
            "layers": [
                {
                    **each.to_json(),
                    "state": None if self.why else _state(faults.get(each.digest)),
                }
                for each in self.layers
            ],
        }


def verified(site: Site, name: str, progress: Progress) -> Verified:
    """Read and hash every file of a model. Raises InvalidInput: the store has no such name."""
    name = _name(name)
    store = site.store
    if store is None:
        return Verified(name=name, server_host=site.server.host, layers=(), why=_unseen(site, name))
    found = tuple({each.digest: each for each in layers(store, name)}.values())
    if not found:
        raise InvalidInput(
            f"the store {store.path} has no whole manifest of {name}",
            hint=f"`deploy pull {name}` fetches it",
        )
    try:
        damaged, why = _look(store, name, found, progress), None
    except OSError as e:
        damaged, why = (), f"{e.filename}: {e.strerror}; run deploy as the user of the server"
    return Verified(name=name, server_host=site.server.host, layers=found, damaged=damaged, why=why)


def _name(text: str) -> str:
    try:
        return str(ModelRef.parse(text))
    except ValueError as e:
        raise InvalidInput(
            str(e),
            hint="name it as the server lists it (`deploy pull` said how): NAME:TAG",
        ) from e


def _look(
    store: Store, name: str, found: tuple[Layer, ...], progress: Progress
) -> tuple[Damage, ...]:
    def tick(digest: str, done: int, total: int) -> None:
        progress.advance(f"verify {name} {digest[7:19]}", done, total)

    return tuple(store.damage(found, tick))


def _unseen(site: Site, name: str) -> str:
    """Return why nobody looked. Raises InvalidInput: the server does not even list it."""
    if site.server.find(name) is None:
        raise InvalidInput(
            f"the server at {site.server.host} has no model {name}",
            hint=f"`deploy pull {name}` fetches it",
        )
    where = f"{site.store_path} is not readable" if site.store_path else "it is not in sight"
    return f"the server's store: {where}; run deploy on its host, as its user"


def _state(damage: Damage | None) -> str:
    return damage.what if damage else "whole"
