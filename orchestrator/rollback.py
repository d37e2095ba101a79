"""Back to the deployment before: it is still on the server, so nothing is downloaded."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from orchestrator import log
from orchestrator.alias import mend, move
from orchestrator.derive import shared
from orchestrator.errors import (
    DiskFull,
    NothingDeployed,
    OutOfMemory,
    PromiseBroken,
    ServerRefused,
    ServerUnreachable,
)
from orchestrator.profile import Profile
from orchestrator.progress import Progress
from orchestrator.site import Site
from orchestrator.source.starter import Starter

# What was left answers its last requests and goes then; nobody needs to wait for that.
_GOES_S = 5.0

Deployment = Mapping[str, Any]


def roll_back(site: Site, profile: Profile, progress: Progress) -> dict[str, Any]:
    """Let the alias name the deployment before; return that one's document.

    The one that is left becomes the one to go back to. The alias moves before the ledger: the next
    run of the loop repairs a rollback that was killed in between. Raises NothingDeployed: there is
    none before. PromiseBroken: it cannot serve, and what served still does. ServerUnreachable.
    """
    site.server.version()
    left, back = site.current(profile.alias), site.previous(profile.alias)
    if back is None:
        raise NothingDeployed(
            f"no earlier deployment of {profile.alias} at {site.server.host}",
            hint="`deploy history` lists what there was; `deploy auto TAG` deploys another",
        )
    _require(site, back)
    try:
        _load(site, back, left, profile, progress)
        with log.stage("alias.move", alias=back["alias"], model=back["model"]):
            move(site.server, site.store, back["alias"], back["model"])
    except (ServerRefused, DiskFull) as e:
        stays = _stay(site, left, back, profile, progress)
        raise PromiseBroken(
            f"{back['model']} cannot serve again: {e.what}; {stays}", hint=_again(back)
        ) from e
    document = {**back, "state": "current", "rolled_back_from": _from(left), "changed": True}
    site.ledger.swap(left, document)
    if left:
        _let_go(site, left, back, progress)
    return document


def _require(site: Site, back: Deployment) -> None:
    """Raise PromiseBroken unless the model is on the server as it was deployed."""
    digest = site.digest(back["model"])
    if digest == back["digest"]:
        return
    fault = "is gone from the server" if digest is None else f"is another model ({digest[:12]}) now"
    raise PromiseBroken(
        f"{back['model']} {fault}: there is nothing to go back to; what serves stays",
        hint=_again(back),
    )


def _again(back: Deployment) -> str:
    if back["source"] == Starter.address:  # no catalogue has it
        return "`deploy auto` deploys anew"
    return f"`deploy auto {back['tag']}` deploys it again"


def _load(
    site: Site, back: Deployment, left: Deployment | None, profile: Profile, progress: Progress
) -> None:
    """Load it beside what serves, or in its place. Raises ServerRefused, ServerUnreachable."""
    try:
        _put(site, back, profile, progress)
    except OutOfMemory:
        loaded = [m.name for m in site.server.loaded() if left and m.digest == left["digest"]]
        if not loaded:
            raise
        progress.say(f"no room beside {', '.join(loaded)}: it leaves memory before the load")
        for name in loaded:
            site.server.unload(name)
        _put(site, back, profile, progress)


def _put(site: Site, wanted: Deployment, profile: Profile, progress: Progress) -> None:
    model = wanted["model"]
    with log.stage("load", model=model), progress.waiting(f"loading {model}"):
        site.server.load(model, options=wanted["settings"], keep_alive=profile.keep_alive)


def _stay(
    site: Site, left: Deployment | None, back: Deployment, profile: Profile, progress: Progress
) -> str:
    """Put right what the attempt disturbed; say what serves now."""
    if left is None:
        return "nothing serves"
    try:
        mend(site.server, site.store, left)
        _put(site, left, profile, progress)
    except ServerRefused as e:
        return f"and {left['model']} does not load any more: {e.what}"
    _let_go(site, back, left, progress)
    return f"{left['model']} keeps serving as {profile.alias}"


def _from(left: Deployment | None) -> dict[str, str] | None:
    if left is None:
        return None
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"tag": left["tag"], "model": left["model"], "at": at}


def _let_go(site: Site, left: Deployment, serves: Deployment, progress: Progress) -> None:
    """Take the one that is left out of memory, where it was to stay for good.

    The server has one runner a blob: weights that something else serves are in use.
    """
    server = site.server
    used = {serves["blob"], *(d["blob"] for d in site.ledger.currents(server.host))}
    needed = left["blob"] in used or shared(server, left["model"], left["digest"])
    if needed or left["digest"] not in {m.digest for m in server.loaded()}:
        return
    with suppress(ServerUnreachable, ServerRefused):
        server.unload(left["model"], timeout_s=_GOES_S)
        return
    progress.say(f"{left['model']} still answers a request: it goes out of memory after that")
