"""Take one deployment away: out of memory, its names, its download, and last out of the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import log
from orchestrator.alias import mend
from orchestrator.deployment import FOUND_THERE
from orchestrator.errors import InvalidInput, NothingDeployed, ServerRefused
from orchestrator.model import ModelRef
from orchestrator.profile import Profile
from orchestrator.progress import Progress
from orchestrator.site import Site

Deployment = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """`document` is the deployment's; `taken` the names that are gone from the server, `stays`
    sentences about what is not, `freed_bytes` what the disk got back, None where it is not ours to
    see.
    """

    document: dict[str, Any]
    taken: tuple[str, ...]
    stays: tuple[str, ...]
    freed_bytes: int | None


def remove(site: Site, profile: Profile, name: str | None, progress: Progress) -> Removed:
    """Take the deployment that `name` means away; None: the one that serves.

    Every step may have been done by a run that was killed: what is gone already is no error.
    Raises NothingDeployed: the name means none. ServerRefused, ServerUnreachable.
    """
    site.server.version()
    chosen, host = _chosen(site, profile.alias, name), site.server.host
    serves = site.current(profile.alias)
    if serves and serves["id"] != chosen["id"]:
        # A rollback that was killed may have left the alias on the one that is to go.
        mend(site.server, site.store, serves)
    others = [d for d in site.ledger.in_use(host) if d["id"] != chosen["id"]]
    before = _blobs(site, chosen)
    with log.stage("remove", model=chosen["model"]):
        _unload(site, chosen, others, progress)
        steps = [_alias(site, chosen), _derived(site, chosen, others), _tag(site, chosen, others)]
    site.ledger.end(chosen["id"], "removed")
    return Removed(
        document={**chosen, "state": "removed", "changed": True},
        taken=tuple(name for name, stays in steps if name and not stays),
        stays=tuple(stays for _, stays in steps if stays) + _left(others, chosen),
        freed_bytes=_freed(site, before),
    )


def _chosen(site: Site, alias: str, name: str | None) -> dict[str, Any]:
    """Return the current deployment, or the one of that name. Raises NothingDeployed."""
    current, previous = site.current(alias), site.previous(alias)
    if name is None and current:
        return current
    if name is None:
        back = previous and previous["model"]
        hint = f"`deploy rollback` brings {back} back, `deploy remove {back}` takes it away too"
        raise NothingDeployed(
            f"nothing is deployed as {alias} at {site.server.host}", hint=hint if back else None
        )
    wanted, known = _wanted(name), [d for d in (current, previous) if d]
    if found := next((d for d in known if wanted in _names(d)), None):
        return found
    models = ", ".join(d["model"] for d in known)
    raise NothingDeployed(
        f"{name} is not deployed at {site.server.host}",
        hint=f"`deploy remove MODEL` takes one of: {models}" if models else None,
    )


def _wanted(name: str) -> str:
    try:
        return str(ModelRef.parse(name)).lower()
    except ValueError as e:
        raise InvalidInput(str(e)) from e


def _names(deployment: Deployment) -> set[str]:
    names = {deployment["tag"].lower(), deployment["model"].lower()}
    return names | {deployment["alias"]} if deployment["state"] == "current" else names


def _unload(
    site: Site, chosen: Deployment, others: Sequence[Deployment], progress: Progress
) -> None:
    # The server has one runner a blob: it may be another deployment's that it lists as this one.
    serving = {d["blob"] for d in others if d["state"] == "current"}
    if chosen["blob"] in serving or chosen["digest"] in {d["digest"] for d in others}:
        return
    for name in [m.name for m in site.server.loaded() if m.digest == chosen["digest"]]:
        try:
            with progress.waiting(f"taking {name} out of memory"):
                site.server.unload(name)
        except ServerRefused as e:  # busy: it goes after its last answer, with or without a name
            progress.say(f"warning: {e.what}")


# A step returns the name that it took away (None: there was none) and why it stays, if it does.
_Step = tuple[str | None, str | None]


def _alias(site: Site, chosen: Deployment) -> _Step:
    alias = chosen["alias"]
    if chosen["state"] != "current":
        return None, None
    digest = site.digest(alias)
    if digest not in (None, chosen["digest"]):
        return alias, f"{alias} names another model by now: it is not ours to take"
    return _gone(site, alias, digest)


def _derived(site: Site, chosen: Deployment, others: Sequence[Deployment]) -> _Step:
    model, digest = chosen["model"], site.digest(chosen["model"])
    if user := next((d for d in others if d["model"] == model), None):
        return model, f"{model} stays: {user['alias']} needs it"
    if digest not in (None, chosen["digest"]):
        return model, f"{model} is another model by now: it is not ours to take"
    # An alias of somebody with a ledger of their own.
    same = [m.name for m in site.server.installed() if m.digest == digest and m.name != model]
    if digest and same:
        return model, f"{model} stays: {', '.join(same)} is the same"
    return _gone(site, model, digest)


def _tag(site: Site, chosen: Deployment, others: Sequence[Deployment]) -> _Step:
    tag, digest = chosen["tag"], site.digest(chosen["tag"])
    if digest is None:
        return None, None
    if user := next((d for d in others if d["tag"] == tag), None):
        return tag, f"{tag} stays: {user['model']} is made from it"
    if chosen["source"] == FOUND_THERE:
        return tag, f"{tag} stays: it was on the server before; `ollama rm {tag}` removes it"
    if chosen.get("tag_digest") not in (None, digest):
        return tag, f"{tag} stays: it was pulled anew since; `ollama rm {tag}` removes it"
    return _gone(site, tag, digest)


def _gone(site: Site, name: str, digest: str | None) -> _Step:
    """Delete a name; a torn one, which the server neither lists nor deletes, as a file."""
    if digest is not None:
        site.server.delete(name)
        return name, None
    store = site.store
    if store is None or name not in store.torn():
        return None, None
    if not store.writable:
        return name, f"{name} is torn, and {store.path} is not ours to write: `ollama cp` over it"
    store.discard(name)
    return name, None


def _left(others: Sequence[Deployment], chosen: Deployment) -> tuple[str, ...]:
    same = [d for d in others if d["alias"] == chosen["alias"]]
    return tuple(
        f"{d['model']} stays: `deploy rollback` brings it back"
        if d["state"] == "previous"
        else f"{d['model']} serves as before"
        for d in same
    )


def _blobs(site: Site, chosen: Deployment) -> dict[str, int] | None:
    """Return the files below its names with their sizes; None: not ours to see."""
    store = site.store
    if store is None:
        return None
    manifests = [store.manifest(chosen[key]) for key in ("model", "tag", "alias")]
    layers = [layer for m in manifests if m for layer in m.layers]
    return {x.digest: x.size_bytes for x in layers if store.blob(x.digest).exists()}


def _freed(site: Site, before: Mapping[str, int] | None) -> int | None:
    store = site.store
    if before is None or store is None:
        return None
    return sum(size for digest, size in before.items() if not store.blob(digest).exists())
