"""How what was deployed stands now: read-only, quick, and honest about what it cannot see."""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.amiss import misloaded, misnamed
from orchestrator.errors import NothingDeployed, ServerUnreachable
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.machine import LoadedModel
from orchestrator.presence import Presence, presence
from orchestrator.runtime import server_host
from orchestrator.site import Site

Deployment = Mapping[str, Any]

_SEEN_NOW = ("server", "names", "in memory")
"""Checks of `deploy verify` that this look repeats: its own answer is the newer one."""


def standing(
    home: Home, environ: Mapping[str, str], alias: str, *, keep_alive: float | str = -1
) -> dict[str, Any]:
    """Return the status document: the deployment of `alias`, what is loaded, what is amiss.

    `keep_alive` is the profile's: -1 says that the model is in memory for good.
    """
    site = Site.at(home, environ)
    server, deployment = site.server, site.current(alias)
    version: str | None = None
    loaded: tuple[LoadedModel, ...] = ()
    findings: list[str] = []
    notes: list[str] = []
    serving = False
    try:
        version, loaded = server.version(), server.loaded()
        if deployment:
            findings, notes = _judged(site, deployment, version, for_good=keep_alive == -1)
            serving = site.digest(deployment["alias"]) == deployment["digest"]
    except ServerUnreachable as e:
        version, findings = None, [e.what]
    return {
        "schema": 1,
        "server": {"host": server.host, "answering": version is not None, "version": version},
        "deployment": deployment,
        "loaded": [
            {"name": m.name, "digest": m.digest, "bytes": m.bytes, "context": m.context}
            for m in loaded
        ],
        "serving": serving,
        "holds": deployment is not None and version is not None and not findings,
        "findings": findings,
        "notes": notes,
    }


def _judged(
    site: Site, deployment: Deployment, version: str, *, for_good: bool
) -> tuple[list[str], list[str]]:
    """Return what breaks the promise, and what is only worth knowing; a sentence each."""
    found = presence(site.server, deployment, site.process.runners if site.process else ())
    broken = [*misnamed(site, deployment), *_memory(found, deployment, for_good=for_good)]
    return [*broken, *_verified(site, deployment)], [*_notes(site, deployment, version)]


def _memory(found: Presence, deployment: Deployment, *, for_good: bool) -> Iterator[str]:
    model = deployment["model"]
    if not found.loaded:
        if for_good:
            yield f"{model} is not in memory, and was to stay there: `deploy auto` loads it"
        return
    if amiss := misloaded(found, deployment):
        yield f"{amiss}; `deploy auto` loads it as deployed"
    if for_good and not found.pinned:
        yield (
            f"{model} will leave memory: a client overwrote its keep_alive; "
            "`deploy auto` sets it again"
        )


def _verified(site: Site, deployment: Deployment) -> Iterator[str]:
    last = site.ledger.verification(deployment["id"])
    for check in last["checks"] if last else ():
        if last and check["outcome"] == "failed" and check["name"] not in _SEEN_NOW:
            yield f"`deploy verify` found at {last['verified_at']}: {check['detail']}"


def _notes(site: Site, deployment: Deployment, version: str) -> Iterator[str]:
    tag = deployment["tag"]
    if site.server.claim(tag):
        yield (
            f"{tag} itself is loaded beside {deployment['model']}: clients that use the tag make "
            f"the server reload on every change of options; let them use {deployment['alias']}"
        )
    if version != deployment["server_version"]:
        yield (
            f"the server is Ollama {version} now, and was {deployment['server_version']} when "
            "this was measured: `deploy bench` measures again"
        )


def client_environment(home: Home, environ: Mapping[str, str], alias: str) -> dict[str, Any]:
    """Return what a client needs. Raises NothingDeployed."""
    host = server_host(environ)
    deployment = Ledger(home.ledger).current(host, f"{alias}:latest")
    if deployment is None:
        raise NothingDeployed(f"nothing is deployed as {alias} at {host}")
    base = f"{host}/v1"
    body = f'{{"model":"{alias}","messages":[{{"role":"user","content":"Hello"}}]}}'
    curl = f"curl -s {base}/chat/completions -H 'Content-Type: application/json' -d '{body}'"
    return {
        "schema": 1,
        "OPENAI_BASE_URL": base,
        "OPENAI_API_KEY": "ollama",
        "model": alias,
        "ollama_model": deployment["model"],
        "curl": curl,
        "note": _name_note(deployment),
    }


def _name_note(deployment: Mapping[str, Any]) -> str | None:
    """Say when the alias is not the best name: Ollama drops old <think> blocks from a history only
    for models named deepseek-r1, or of the qwen3 family.
    """
    if not deployment["tag"].startswith("deepseek-r1:") or "qwen3" in deployment["architecture"]:
        return None
    return (
        f"in long chats send the model as {deployment['model']}: by that name Ollama drops old "
        "<think> blocks from the history, by the alias it does not"
    )
