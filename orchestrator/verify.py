"""Does the deployment still hold? Look at all that was promised, and let it answer once."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Literal

from orchestrator import log
from orchestrator.amiss import misloaded, misnamed
from orchestrator.errors import DiskFull, NothingDeployed, ServerRefused, ServerUnreachable
from orchestrator.presence import presence
from orchestrator.profile import Profile
from orchestrator.progress import Progress
from orchestrator.site import Site
from orchestrator.store import Layer, Store
from orchestrator.units import duration, gb, gib

Outcome = Literal["passed", "failed", "unverified"]
Deployment = Mapping[str, Any]

_WORST_FIRST: tuple[Outcome, ...] = ("failed", "unverified", "passed")
_ANSWER_S = 120.0
_ALL = ("server", "names", "layers", "in memory", "placement", "answer", "memory")


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was promised; `detail` has the numbers, and the next command if it failed."""

    name: str
    outcome: Outcome
    detail: str


def verify(site: Site, profile: Profile, progress: Progress) -> dict[str, Any]:
    """Return the verification of what the profile's alias serves, and note it in the ledger.

    Nothing changes on the server but that the model is loaded where it is not in memory as it was
    deployed. Raises NothingDeployed.
    """
    deployment = site.current(profile.alias)
    if deployment is None:
        raise NothingDeployed(f"nothing is deployed as {profile.alias} at {site.server.host}")
    with log.stage("verify", model=deployment["model"]):
        checks, damaged = _look(site, deployment, profile, progress)
    outcomes = {c.outcome for c in checks}
    document = {
        "schema": 1,
        "deployment": deployment["id"],
        "server_host": site.server.host,
        "alias": deployment["alias"],
        "model": deployment["model"],
        "verified_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "outcome": next(o for o in _WORST_FIRST if o in outcomes),
        "checks": [asdict(c) for c in checks],
        "damaged": damaged,
    }
    try:
        site.ledger.record_verification(document)
    except DiskFull as e:  # what was found is true all the same
        progress.say(f"warning: {e.what}")
    return document


def _look(
    site: Site, deployment: Deployment, profile: Profile, progress: Progress
) -> tuple[list[Check], list[str]]:
    """Return every check, and the digests of damaged blobs."""
    try:
        version = site.server.version()
    except ServerUnreachable as e:
        why = "the server does not answer"
        start = f"{e.what}: `deploy runtime start`, or `deploy auto`"
        return [_failed("server", start), *_unverified(_ALL[1:], why)], _known(site, deployment)
    names = misnamed(site, deployment)
    layers, damaged = _layers(site, deployment, progress)
    checks = [
        _passed("server", f"Ollama {version} at {site.server.host}"),
        _failed("names", "; ".join(names))
        if names
        else _passed("names", f"{deployment['alias']} and {deployment['model']} are as deployed"),
        layers,
    ]
    held = _held(site, deployment, profile, progress)
    checks.append(held)
    if not any(m.digest == deployment["digest"] for m in site.server.loaded()):
        return [*checks, *_unverified(_ALL[4:], "it is not in memory")], damaged
    checks += [_placement(site, deployment), _answer(site, deployment, progress)]
    return [*checks, _memory(site, deployment, profile)], damaged


def _known(site: Site, deployment: Deployment) -> list[str]:
    """Return the damage that an earlier look found: without a new look it is still there."""
    last = site.ledger.verification(deployment["id"])
    return list(last["damaged"]) if last else []


def _layers(site: Site, deployment: Deployment, progress: Progress) -> tuple[Check, list[str]]:
    """Hash every file that the deployment was made of."""
    store = site.store
    if store is None:
        where = f"{site.store_path} is not readable" if site.store_path else "it is not in sight"
        why = f"the server's store: {where}; run deploy on its host, as its user"
        return Check(name="layers", outcome="unverified", detail=why), _known(site, deployment)
    layers = _recorded(store, deployment)
    if not layers:
        why = f"no record of the layers of {deployment['model']}: `deploy auto` makes one"
        return Check(name="layers", outcome="unverified", detail=why), _known(site, deployment)

    try:
        found = store.damage(layers, _ticker(layers, progress))
    except OSError as e:
        why = f"{e.filename}: {e.strerror}; run deploy as the user of the server"
        return Check(name="layers", outcome="unverified", detail=why), _known(site, deployment)
    if found:
        faults = "; ".join(f"{d.digest} {d.detail}" for d in found)
        said = f"{faults}: `deploy auto` fetches what is damaged again"
        return _failed("layers", said), [d.digest for d in found]
    size = gb(sum(x.size_bytes for x in layers))
    return _passed("layers", f"{len(layers)} files, {size}, have the bytes of their digests"), []


def _ticker(layers: Sequence[Layer], progress: Progress) -> Callable[[str, int, int], None]:
    """Return what shows the bytes hashed of all files together."""
    sizes = {x.digest: x.size_bytes for x in layers}
    before = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))

    def tick(digest: str, done: int, _total: int) -> None:
        progress.advance("hashing the files", before[digest] + done, sum(sizes.values()))

    return tick


def _recorded(store: Store, deployment: Deployment) -> list[Layer]:
    """Return the layers of the day of deployment, or those that the same manifest names now."""
    if deployment["layers"] is not None:
        return [Layer(**layer) for layer in deployment["layers"]]
    manifest = store.manifest(deployment["model"])
    same = manifest is not None and manifest.digest == deployment["digest"]
    return list(manifest.layers) if manifest and same else []


def _held(site: Site, deployment: Deployment, profile: Profile, progress: Progress) -> Check:
    """See how it is in memory, and load it as it was deployed if it is not."""
    found = presence(site.server, deployment, site.runners())
    amiss = misloaded(found, deployment)
    wanted = f"{deployment['context']} tokens x {deployment['parallel']}"
    if found.loaded and not amiss and (found.pinned or profile.keep_alive != -1):
        return _passed("in memory", wanted)
    if site.digest(deployment["model"]) != deployment["digest"]:
        return _failed("in memory", f"not in memory, and {deployment['model']} cannot be loaded")
    try:
        load_s = _load(site, deployment, profile, progress)
    except (ServerRefused, ServerUnreachable) as e:
        return _failed("in memory", f"{e.what}: {e.hint}")
    if amiss:
        return _failed("in memory", f"{amiss}; loaded as deployed now")
    if still := misloaded(presence(site.server, deployment, site.runners()), deployment):
        return _failed("in memory", still)
    was = "it was to leave memory, and stays now" if found.loaded else "it was not there"
    return _passed("in memory", f"{wanted}; {was}: loaded in {duration(load_s)}")


def _load(site: Site, deployment: Deployment, profile: Profile, progress: Progress) -> float:
    model, options = deployment["model"], deployment["settings"]
    with progress.waiting(f"loading {model}"):
        return site.server.load(model, options=options, keep_alive=profile.keep_alive).wall_s


def _placement(site: Site, deployment: Deployment) -> Check:
    planned = deployment["placement"]
    names = [m.name for m in site.server.loaded() if m.digest == deployment["digest"]]
    claims = [c for c in map(site.server.claim, names) if c]
    if not claims:
        return Check(name="placement", outcome="unverified", detail="it left memory meanwhile")
    if any(c.placement == planned for c in claims):
        return _passed("placement", f"{planned}, as planned")
    return _failed(
        "placement", f"on {claims[0].placement} instead of {planned}: `deploy auto` plans again"
    )


def _answer(site: Site, deployment: Deployment, progress: Progress) -> Check:
    """Ask for one token, the way a client does."""
    alias = deployment["alias"].removesuffix(":latest")
    if site.digest(alias) != deployment["digest"]:  # asking would load whatever it names
        return _failed("answer", f"{alias} is not asked, for it does not name this deployment")
    started = time.monotonic()
    try:
        with progress.waiting(f"asking {alias} for one token"):
            site.server.chat_completion(alias, "Say hello.", max_tokens=1, timeout_s=_ANSWER_S)
    except (ServerRefused, ServerUnreachable) as e:
        return _failed("answer", f"{e.what}: {e.hint}")
    took = duration(time.monotonic() - started)
    return _passed("answer", f"one token through {alias} after {took}")


def _memory(site: Site, deployment: Deployment, profile: Profile) -> Check:
    """Hold the peak of the runner against that of the deployment. To take less is no fault."""
    if deployment["placement"] != "cpu":
        why = "memory of devices is not measured here: `deploy bench` does"
        return Check(name="memory", outcome="unverified", detail=why)
    measured = deployment["measured"] or {}
    then = measured.get("resident_bytes") or deployment["planned"]["resident_bytes"]
    own = [r.peak_rss_bytes for r in site.runners() if r.blob == deployment["blob"]]
    peaks = [p for p in own if p]
    if not peaks or not then:
        why = "the process of the model is not in sight: run deploy on its host, as its user"
        return Check(name="memory", outcome="unverified", detail=why)
    error = (max(peaks) - then) / max(peaks)
    said = f"peak of the runner {gib(max(peaks))}, {gib(then)} at deployment ({error:+.1%})"
    if error <= profile.memory_warn:
        return _passed("memory", said)
    return _failed("memory", f"{said}: above the {profile.memory_warn:.0%} that are allowed")


def _passed(name: str, detail: str) -> Check:
    return Check(name=name, outcome="passed", detail=detail)


def _failed(name: str, detail: str) -> Check:
    return Check(name=name, outcome="failed", detail=detail)


def _unverified(names: Sequence[str], why: str) -> list[Check]:
    return [Check(name=name, outcome="unverified", detail=why) for name in names]
