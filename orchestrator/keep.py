"""When what serves stays: it is what was asked for, or a better one was not yet seen twice."""

import time
from collections.abc import Mapping
from typing import Any

from orchestrator import log
from orchestrator.fit import Fit
from orchestrator.ledger import Ledger
from orchestrator.order import Order
from orchestrator.profile import Profile
from orchestrator.progress import Progress
from orchestrator.source.starter import Starter
from orchestrator.survey import Survey

_STEADY_S = 600.0


def current(order: Order, seen: Survey) -> dict[str, Any] | None:
    """Return the deployment that the order's alias serves, if it still stands on the server."""
    found = Ledger(order.home.ledger).current(seen.server.host, f"{order.profile.alias}:latest")
    if found is None:
        return None
    derived, alias = seen.server.find(found["model"]), seen.server.find(found["alias"])
    stands = derived is not None and alias is not None and derived.digest == alias.digest
    return found if stands else None


def kept(order: Order, seen: Survey, fit: Fit, progress: Progress) -> dict[str, Any] | None:
    """Return the current deployment if `fit` is no reason to replace it, loaded again if needed.

    A good deployment gives way only to a better one that was seen twice, 10 minutes apart; a
    starter model gives way at once, and so does one that was asked for in other words, or that
    does not hold by the terms of today.
    """
    serves = current(order, seen)
    if serves is None or not holds(serves, order.profile):
        return None
    if not _same(serves, fit):
        replaceable = serves["requested"] != order.asked or serves["source"] == Starter.name
        if replaceable or not _stays(order, serves, fit, progress):
            return None
    reload(order, seen, serves, progress)
    log.event("deployment.kept", tag=serves["tag"])
    return {**serves, "changed": False}


def _same(serves: Mapping[str, Any], fit: Fit) -> bool:
    run = fit.estimate.load.run
    wanted = (fit.candidate.tag, run.context, run.parallel, fit.placement.kind)
    return wanted == tuple(serves[k] for k in ("tag", "context", "parallel", "placement"))


def _stays(order: Order, serves: Mapping[str, Any], fit: Fit, progress: Progress) -> bool:
    since_s = Ledger(order.home.ledger).sighted(
        serves["server_host"], serves["alias"], fit.candidate.tag, time.time()
    )
    if since_s >= _STEADY_S:
        return False
    progress.say(
        f"{fit.candidate.tag} would be chosen now; {serves['tag']} stays until that has lasted "
        f"{_STEADY_S / 60:.0f} minutes (so far {since_s / 60:.0f})"
    )
    return True


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


def reload(order: Order, seen: Survey, serves: Mapping[str, Any], progress: Progress) -> None:
    """Load what serves unless it is in memory, there to stay as the profile wants it."""
    claims = [seen.server.claim(name) for name in (serves["model"], serves["alias"])]
    for_good = order.profile.keep_alive == -1
    if any(c and (c.pinned or not for_good) for c in claims):
        return
    progress.say(f"{serves['model']} is deployed, but not in memory for good")
    with progress.waiting(f"loading {serves['model']}"):
        seen.server.load(
            serves["model"], options=serves["settings"], keep_alive=order.profile.keep_alive
        )
