"""`refresh`: is there something newer? Pull the tag again, then the loop with the same order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.deploy import deploy
from orchestrator.deployment import FOUND_THERE
from orchestrator.ledger import Ledger
from orchestrator.order import Order
from orchestrator.progress import Progress
from orchestrator.pull.chain import Failures, first
from orchestrator.pull.claim import fetched
from orchestrator.pull.sources import Sources
from orchestrator.runbook.deployed import answering, deployed
from orchestrator.source import Pulled, Source
from orchestrator.source.starter import Starter
from orchestrator.survey import Survey

_WISHES = ("context", "placement", "min_tps", "max_memory_bytes", "allow_licence")


def run(order: Order, progress: Progress) -> list[str]:
    """Deploy what is newer or better, if there is; return what changed.

    Raises NothingDeployed, ServerUnreachable, PullFailed (what serves keeps serving), and whatever
    the loop raises.
    """
    serves = deployed(order)
    order = as_asked(order, serves)
    seen = answering(order)
    # The starter is in no registry; and what somebody put there is not ours to overwrite.
    if serves["source"] not in (Starter.address, FOUND_THERE):
        tag = serves["tag"]
        first(_sources(order, seen, serves), tag, _pull(order, seen, tag, progress), progress)
        _note_renewed(order, seen, serves)
    document = deploy(order, progress)
    if not document["changed"]:
        return []
    return [f"{document['model']} serves instead of {serves['model']}"]


def _sources(order: Order, seen: Survey, serves: Mapping[str, Any]) -> Sequence[Source]:
    """Return where it came from, as long as the profile still has that; else all of its sources.

    Two sources make two files of one model: to take it from the next would replace it in vain.
    """
    store = seen.machine.disk.model_store
    tried = Sources(order=order, server=seen.server, store_path=store).tried()
    return [each for each in tried if each.address == serves["source"]] or tried


def _pull(
    order: Order, seen: Survey, tag: str, progress: Progress
) -> Callable[[Source, Failures], Pulled]:
    return lambda source, _: fetched(order.home, seen.server, source, tag, progress)


def _note_renewed(order: Order, seen: Survey, serves: Mapping[str, Any]) -> None:
    """Let the ledger know that these newer bytes are of our fetching, for the loop and `remove`."""
    tag = seen.server.find(serves["tag"])
    if tag and tag.digest != serves["tag_digest"]:
        renewed = {**serves, "renewed_digest": tag.digest}
        Ledger(order.home.ledger).note(serves["id"], renewed)


def as_asked(order: Order, serves: Mapping[str, Any]) -> Order:
    """Return the order that led to a deployment; a registry named on the command line stays."""
    asked, profile = serves["requested"], order.profile
    profile = profile.override({key: asked[key] for key in _WISHES}, "the deployment's order")
    profile = profile.override({"parallel": asked["parallel"]}, "--parallel")
    if not profile.origin.get("registry", "").startswith("--"):
        profile = profile.override({"registry": asked["registry"]}, "the deployment's order")
    return replace(order, profile=profile, tags=tuple(asked["tags"]))
