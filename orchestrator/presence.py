"""How a deployment is held in memory at this moment: at all, for good, and with which options."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.runtime import Runner
from orchestrator.server import Server


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence:
    """`context` and `parallel` are None where nothing tells them, or where several runners of
    these weights disagree; `pinned`: the server keeps it until it is told otherwise.
    """

    loaded: bool = False
    pinned: bool = False
    context: int | None = None
    parallel: int | None = None

    def as_deployed(self, deployment: Mapping[str, Any]) -> bool:
        """Whether it is loaded as it was deployed, as far as that can be seen."""
        wanted = (deployment["context"], deployment["parallel"])
        told = zip((self.context, self.parallel), wanted, strict=True)
        return self.loaded and all(found in (None, planned) for found, planned in told)


def presence(
    server: Server, deployment: Mapping[str, Any], runners: Iterable[Runner] = ()
) -> Presence:
    """Return how `deployment` is in memory; `runners` are the server's, as the probe sees them.

    Old servers tell no context, so the runner's own arguments are asked first. A model is told by
    its digest: /api/ps shows the name by which it was loaded, which may be any of its names, or
    another model's that has the same weights.
    """
    own = [r for r in runners if r.blob is not None and r.blob == deployment["blob"]]
    loaded = server.loaded()
    listed = [m for m in loaded if m.digest == deployment["digest"]]
    wanted = (deployment["context"], deployment["parallel"])
    if not listed and wanted in {(r.context, r.parallel) for r in own}:
        # A runner serves every name of its weights and options, by whichever it was loaded.
        listed = [m for m in loaded if server.weights(m.name) == deployment["blob"]]
    if not listed:
        return Presence()
    claims = [server.claim(m.name) for m in listed]
    told = {r.context for r in own} - {None}
    contexts = told or {m.context for m in listed}
    slots = {r.parallel for r in own if r.parallel}
    return Presence(
        loaded=True,
        pinned=any(c and c.pinned for c in claims),
        context=contexts.pop() if len(contexts) == 1 else None,
        parallel=slots.pop() if len(slots) == 1 else None,
    )
