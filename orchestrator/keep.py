"""When what serves stays: it is what was asked for, or a better one was not yet seen twice."""

import time
from collections.abc import Mapping
from typing import Any

from orchestrator import log
from orchestrator.amiss import misloaded
from orchestrator.deployment import parameters
from orchestrator.errors import ServerRefused, UnknownModel
from orchestrator.fit import Fit
from orchestrator.ledger import Ledger
from orchestrator.machine import Machine
from orchestrator.order import Order
from orchestrator.plan import order as ranked
from orchestrator.presence import presence
from orchestrator.probe.server import read_process
from orchestrator.profile import Profile
from orchestrator.progress import Progress
from orchestrator.source.starter import Starter
from orchestrator.survey import Survey

_STEADY_S = 600.0
_LOOK_BACK = 50
# How the ledger begins to say why a candidate was rejected. What was disturbed, interrupted or
# killed may be tried again at any time.
_IN_VAIN = ("memory: ", "speed: ", "server: ")


def current(order: Order, seen: Survey) -> dict[str, Any] | None:
    """Return the deployment that the order's alias serves, if it still stands on the server."""
    found = Ledger(order.home.ledger).current(seen.server.host, f"{order.profile.alias}:latest")
    if found is None:
        return None
    names = [seen.server.find(found[key]) for key in ("model", "alias")]
    return found if all(n and n.digest == found["digest"] for n in names) else None


def kept(order: Order, seen: Survey, fit: Fit, progress: Progress) -> dict[str, Any] | None:
    """Return the current deployment if `fit` is no reason to replace it, loaded again if needed.

    A good deployment gives way only to a better one that was seen twice, 10 minutes apart; a
    starter model gives way at once, and so does one that was asked for in other words, whose tag
    has other bytes by now, that does not hold by the terms of today, or does not load any more.
    """
    serves = current(order, seen)
    if serves is None or not holds(serves, order.profile) or _damaged(order, serves):
        return None
    if as_planned(serves, fit, seen.machine):
        Ledger(order.home.ledger).forget_sighting(serves["server_host"], serves["alias"])
        if _renewed(order, serves, seen):
            progress.say(f"{serves['tag']} has other bytes than when it was deployed: trying them")
            return None
    else:
        replaceable = serves["requested"] != order.asked or serves["source"] == Starter.address
        if replaceable or not _stays(order, serves, fit, progress):
            return None
    try:
        reload(order, seen, serves, progress)
    except ServerRefused as e:
        progress.say(f"{serves['tag']} does not load any more: {e.what}")
        return None
    log.event("deployment.kept", tag=serves["tag"])
    return {**serves, "changed": False}


def as_planned(serves: Mapping[str, Any], fit: Fit, machine: Machine) -> bool:
    """Whether what serves is what would be deployed now: placed alike, with as many threads."""
    run = fit.estimate.load.run
    wanted = (fit.candidate.tag, run.context, run.parallel, fit.placement.kind)
    # A server that is told none starts a thread for each core of the box.
    then, now = (
        settings.get("num_thread", machine.host.box_cores)
        for settings in (serves["settings"], parameters(fit, machine))
    )
    kept = tuple(serves[k] for k in ("tag", "context", "parallel", "placement"))
    return wanted == kept and then == now


def _renewed(order: Order, serves: Mapping[str, Any], seen: Survey) -> bool:
    """Whether somebody pulled a newer file of the tag, and it has not been tried in vain yet."""
    tag = seen.server.find(serves["tag"])
    if tag is None or serves["tag_digest"] in (None, tag.digest):
        return False
    tried = Ledger(order.home.ledger).ended(seen.server.host, _LOOK_BACK)
    return not any(
        (d["state"], d["tag"], d["tag_digest"]) == ("failed", serves["tag"], tag.digest)
        and str(d["failure"]).startswith(_IN_VAIN)
        for d in tried
    )


def _damaged(order: Order, serves: Mapping[str, Any]) -> bool:
    """Whether the last look at its files found damage: then it is fetched and proven anew."""
    found = Ledger(order.home.ledger).verification(serves["id"])
    return bool(found and found["damaged"])


def _stays(order: Order, serves: Mapping[str, Any], fit: Fit, progress: Progress) -> bool:
    tag = fit.candidate.tag
    if tag == serves["tag"] and serves["rolled_back_from"] and not order.tags:
        return True  # it went back to other settings, and nobody asks for those of today
    if tag != serves["tag"] and not _better(order, tag, serves["tag"]):
        progress.say(f"{tag} is what fits now; {serves['tag']} is better and stays")
        return True
    since_s = Ledger(order.home.ledger).sighted(
        serves["server_host"], serves["alias"], tag, time.time()
    )
    if since_s >= _STEADY_S:
        return False
    progress.say(
        f"{tag} would be chosen now; {serves['tag']} stays until that has lasted "
        f"{_STEADY_S / 60:.0f} minutes (so far {since_s / 60:.0f})"
    )
    return True


def _better(order: Order, tag: str, than: str) -> bool:
    """Whether the profile ranks a tag before another; one that it knows no more ranks last."""
    try:
        both = [order.catalog.find(tag), order.catalog.find(than)]
    except UnknownModel:
        return True
    return ranked(both, order.profile)[0] == both[0]


def holds(serves: Mapping[str, Any], profile: Profile) -> bool:
    """Whether what was measured at deployment passes the profile's terms as they are now."""
    # With the floor that it was accepted under it stays, be it as the last that was left.
    floor_moved = serves["requested"]["min_tps"] != profile.min_tps
    for check in serves["verdict"]["checks"]:
        if check["name"].startswith("memory") and check["error"] is not None:
            if abs(check["error"]) > profile.memory_warn:
                return False
        elif check["name"] == "decode speed" and floor_moved and serves["placement"] != "gpu":
            clean = check["outcome"] != "unverified"
            if clean and (check["measured"] or 0) < profile.min_tps:
                return False
    return True


def reload(order: Order, seen: Survey, serves: Mapping[str, Any], progress: Progress) -> bool:
    """Load what serves unless it is in memory as it was deployed; return whether it was loaded.

    A client that sends options of its own makes the server load the model with those, and one
    that sends a keep_alive overwrites ours: both are put right.
    """
    process = read_process(seen.server.host)
    found = presence(seen.server, serves, process.runners if process else ())
    for_good = order.profile.keep_alive == -1
    amiss = misloaded(found, serves)
    if amiss and found.context in (None, serves["context"]):  # slots are the server's to set
        progress.say(f"warning: {amiss}")
        amiss = None
    if found.loaded and not amiss and (found.pinned or not for_good):
        return False
    absent = f"{serves['model']} is deployed, but not in memory"
    loose = f"{serves['model']} is in memory, but not for good"
    said = amiss or (loose if found.loaded else absent)
    progress.say(f"{said}: loading it as deployed")
    with progress.waiting(f"loading {serves['model']}"):
        seen.server.load(
            serves["model"], options=serves["settings"], keep_alive=order.profile.keep_alive
        )
    return True
