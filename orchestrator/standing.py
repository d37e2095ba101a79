"""How what was deployed stands now: read-only, quick, and honest about what it cannot see."""

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import NothingDeployed, ServerUnreachable
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.runtime import server_host
from orchestrator.server import Server


def standing(home: Home, environ: Mapping[str, str], alias: str) -> dict[str, Any]:
    """Return the status document: the deployment of `alias`, what is loaded, what is amiss."""
    server = Server(server_host(environ))
    deployment = Ledger(home.ledger).current(server.host, f"{alias}:latest")
    try:
        version, loaded = server.version(), server.loaded()
        findings = _findings(server, deployment) if deployment else []
        answering = True
    except ServerUnreachable as e:
        version, loaded, findings, answering = None, (), [e.what], False
    return {
        "schema": 1,
        "server": {"host": server.host, "answering": answering, "version": version},
        "deployment": deployment,
        "loaded": [
            {"name": m.name, "digest": m.digest, "bytes": m.bytes, "context": m.context}
            for m in loaded
        ],
        "serving": bool(deployment) and answering and not findings,
        "findings": findings,
    }


def _findings(server: Server, deployment: Mapping[str, Any]) -> list[str]:
    """Return what differs from what was deployed, a sentence each."""
    model, alias = deployment["model"], deployment["alias"]
    derived, named = server.find(model), server.find(alias)
    found = []
    if derived is None:
        found.append(f"{model} is gone from the server: `deploy auto` deploys again")
    if named is None:
        found.append(f"the alias {alias} is gone: `deploy auto` sets it again")
    elif derived and named.digest != derived.digest:
        found.append(f"the alias {alias} names another model than {model}: `deploy auto`")
    tag = deployment["tag"]
    if server.claim(tag):
        found.append(
            f"{tag} itself is loaded beside {model}: clients that use the tag make the server "
            f"reload on every change of options; let them use {alias}"
        )
    return found


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
