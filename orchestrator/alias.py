"""The name that clients ask for, moved in one step, and put right where it broke."""

import errno
import time
from collections.abc import Mapping
from typing import Any, Literal

from orchestrator.errors import DiskFull, ServerRefused
from orchestrator.server import Server
from orchestrator.store import Store

_SETTLED_S = 5.0
_AGAIN_S = 0.1


def move(server: Server, store: Store | None, alias: str, model: str) -> Literal["rename", "copy"]:
    """Point the alias at the model, read it back through the server, and say by what means.

    A rename in the store is seen by no client; the server's own copy truncates the alias before
    it writes, and fails requests of that instant, so it is the second choice.
    Raises ServerRefused: neither works. DiskFull: the alias is as it was. ServerUnreachable.
    """
    if store is not None and _renamed(server, store, alias, model):
        return "rename"
    try:
        server.copy(model, alias)
    except ServerRefused as e:
        raise ServerRefused(f"the alias {alias} cannot be moved to {model}: {e.what}") from e
    if not _settled(server, alias, model):
        raise ServerRefused(f"the alias {alias} does not name {model} after the copy")
    return "copy"


def mend(server: Server, store: Store | None, deployment: Mapping[str, Any]) -> list[str] | None:
    """Make both names of a deployment stand for its digest again.

    Returns one sentence a repair, none if nothing was broken; None: neither name has the digest
    any more, so there is nothing to repair from. Raises ServerRefused, ServerUnreachable.
    """
    model, alias, digest = (str(deployment[key]) for key in ("model", "alias", "digest"))
    here = {name: _digest(server, name) for name in (model, alias)}
    if digest not in here.values():
        return None
    said = []
    for broken, whole in ((alias, model), (model, alias)):
        if here[broken] != digest:
            move(server, store, broken, whole)
            said.append(f"{broken} {_fault(here[broken])}: it is {whole} again")
    return said


def _renamed(server: Server, store: Store, alias: str, model: str) -> bool:
    manifest = store.manifest(model) if store.writable else None
    # Another server's store may lie where this server's was looked for.
    if manifest is None or manifest.digest != _digest(server, model):
        return False
    try:
        store.point(alias, model)
    except (OSError, LookupError) as e:
        if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT):
            # The server's copy would truncate the alias before it found that out.
            raise DiskFull(f"no room to move the alias {alias} in the store {store.path}") from e
        return False
    return _same(server, alias, model)


def _settled(server: Server, alias: str, model: str) -> bool:
    end = time.monotonic() + _SETTLED_S
    while not _same(server, alias, model):
        if time.monotonic() > end:
            return False
        time.sleep(_AGAIN_S)
    return True


def _same(server: Server, alias: str, model: str) -> bool:
    digests = {_digest(server, alias), _digest(server, model)}
    return len(digests) == 1 and None not in digests


def _digest(server: Server, name: str) -> str | None:
    end = time.monotonic() + _SETTLED_S
    while True:
        try:
            found = server.find(name)
        except ServerRefused:
            # The list is refused in the instant in which anybody writes or removes a manifest.
            if time.monotonic() > end:
                raise
            time.sleep(_AGAIN_S)
        else:
            return None if found is None else found.digest


def _fault(digest: str | None) -> str:
    return "was lost or torn" if digest is None else f"named another model ({digest[:12]})"
