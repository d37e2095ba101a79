"""The derived model: a second manifest over the pulled weights that fixes what the plan decided."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator import log
from orchestrator.deployment import Made, Names, suffixed
from orchestrator.errors import ServerRefused
from orchestrator.ledger import Ledger
from orchestrator.server import Server
from orchestrator.server.shown import Installed
from orchestrator.store import Store

InUse = Sequence[Mapping[str, Any]]


def derive(server: Server, store: Store | None, made: Made, number: int, ledger: Ledger) -> Made:
    """Create the derived model and return the record with its digests.

    Its name is in the ledger before it is on the server: a run that is killed in between leaves
    nothing that the next one does not know. Raises ServerRefused, ServerUnreachable, DiskFull.
    """
    tag = made.fit.candidate.tag
    base, shown = server.find(tag), server.show(tag)
    if base is None or shown is None:
        raise ServerRefused(f"{tag} is gone from the server since it was fetched")
    made = replace(made, tag_digest=base.digest, blob=shown.blob)
    there = server.find(made.names.model)
    if there and _anothers(server, there, number, ledger):
        plain, made = (
            made,
            replace(made, names=suffixed(made.names, made.tag_digest, made.settings)),
        )
        _create(server, made, number, ledger)
        # The one that is in use may be the very same: then one name for it is enough.
        if _digest(server, made.names) == there.digest:
            server.delete(made.names.model)
            made = plain
            ledger.note(number, made.to_json())
    else:
        _create(server, made, number, ledger)
    made = replace(made, model_digest=_digest(server, made.names))
    manifest = store.manifest(made.names.model) if store else None
    layers = [layer.to_json() for layer in manifest.layers] if manifest else None
    made = replace(made, layers=layers)
    ledger.note(number, made.to_json())  # by its digest the next run knows it for ours
    return made


def shared(server: Server, model: str, digest: str) -> bool:
    """Whether another name has this digest: some alias, perhaps of a user with another ledger."""
    return any(m.digest == digest and m.name != model for m in server.installed())


def discard(
    server: Server, store: Store | None, model: str, in_use: InUse, digest: str | None = None
) -> None:
    """Take a derived model out of memory and away, unless some deployment needs it.

    Nothing happens if it is absent, or another model than `digest` says; one that was torn by a
    server that died is removed as a file.
    """
    found = server.find(model)
    if found is None:
        if store and store.writable and model in store.torn():
            store.discard(model)
        return
    ours = digest in (None, found.digest)
    if not ours or _taken(server, found.name, found.digest, in_use):
        return
    if any(m.digest == found.digest for m in server.loaded()):
        server.unload(model)
    server.delete(model)


def _create(server: Server, made: Made, number: int, ledger: Ledger) -> None:
    ledger.note(number, made.to_json())
    with log.stage("derive", model=made.names.model):
        server.derive(made.names.model, made.fit.candidate.tag, made.settings)


def _digest(server: Server, names: Names) -> str:
    found = server.find(names.model)
    if found is None:
        raise ServerRefused(f"{names.model} was created, but the server does not have it")
    return found.digest


def _anothers(server: Server, there: Installed, number: int, ledger: Ledger) -> bool:
    """Whether a name is needed, or was made by somebody whose ledger is not this one."""
    ours = ledger.made(server.host, there.name, there.digest, beside=number)
    return not ours or _taken(server, there.name, there.digest, ledger.in_use(server.host))


def _taken(server: Server, model: str, digest: str, in_use: InUse) -> bool:
    """Whether a deployment of ours has this name, or some alias (another user's) has its digest."""
    return any(used["model"] == model for used in in_use) or shared(server, model, digest)
