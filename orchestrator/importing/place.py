"""A model that is made and proved gets its name; until then the name is what it was."""

import errno

from orchestrator.errors import DeployError, DiskFull, ServerRefused
from orchestrator.importing import Destination, residue
from orchestrator.server.shown import Installed
from orchestrator.store import Store


def put(to: Destination, made: str, name: str) -> None:
    """Let `name` be what `made` is. What had the name goes only when that is done.

    Raises DiskFull, ServerRefused, ServerUnreachable: then `name` is what it was.
    """
    new, old = to.server.find(made), to.server.find(name)
    if new is None:
        raise ServerRefused(f"{name} was made and is gone: something else deletes models here")
    if old is not None and old.digest == new.digest:
        return
    former = _kept(to, name, old) if old else None
    try:
        _point(to, made, name, new)
    except DeployError as e:
        if old and former:
            _restore(to, former, name, old, e)
        raise
    if former:
        # With its last name the server lets the old model's files go.
        residue.remove_names(to, [former])


def _kept(to: Destination, name: str, old: Installed) -> str:
    """Return a second name for what has the name now. Raises DiskFull, before that is touched."""
    former = residue.name_of(name, old.digest)
    try:
        to.server.copy(name, former)
    except DeployError:
        residue.remove_names(to, [former])
        raise
    return former


def _restore(to: Destination, former: str, name: str, old: Installed, failure: DeployError) -> None:
    """Give the old model its name back: the server's copy empties a name before it fills it."""
    try:
        if not _is(to, name, old):
            to.server.copy(former, name)
    except DeployError as e:
        raise ServerRefused(
            f"{failure.what}; what was {name} has the name {former} now",
            hint=f"free space, then `ollama cp {former} {name}`",
        ) from e
    residue.remove_names(to, [former])


def _point(to: Destination, made: str, name: str, new: Installed) -> None:
    """Rename where the store is ours, which nobody sees half done; else the server copies."""
    store = to.store if to.store and to.store.writable else None
    if store and _renamed(store, made, name) and _is(to, name, new):
        return
    to.server.copy(made, name)
    if not _is(to, name, new):
        raise ServerRefused(f"the server copied a model to {name} and does not list it")


def _renamed(store: Store, made: str, name: str) -> bool:
    try:
        store.point(name, made)
    except (OSError, LookupError) as e:
        if isinstance(e, OSError) and e.errno in {errno.ENOSPC, errno.EDQUOT}:
            # The server's copy would truncate what has the name before it found that out.
            raise DiskFull(f"no room to name {name} in the store {store.path}") from e
        return False
    return True


def _is(to: Destination, name: str, new: Installed) -> bool:
    found = to.server.find(name)
    return found is not None and found.digest == new.digest
