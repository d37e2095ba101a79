"""What is amiss with a deployment's names, and with how it is in memory: in sentences."""

from collections.abc import Mapping
from typing import Any

from orchestrator.presence import Presence
from orchestrator.site import Site

Deployment = Mapping[str, Any]


def misnamed(site: Site, deployment: Deployment) -> list[str]:
    """Return what is wrong with the alias and the derived model, by the digest of that day."""
    alias, model = deployment["alias"], deployment["model"]
    faults = []
    for name, said in ((alias, f"the alias {alias}"), (model, model)):
        digest = site.digest(name)
        if digest is None:
            faults.append(f"{said} is gone or torn: `deploy auto` puts it back")
        elif digest != deployment["digest"]:
            faults.append(
                f"{said} is another model ({digest[:12]}) than was deployed "
                f"({deployment['digest'][:12]}): `deploy auto` puts it back"
            )
    return faults


def misloaded(found: Presence, deployment: Deployment) -> str | None:
    """Say how a model in memory differs from what was deployed; None: it does not."""
    if not found.loaded or found.as_deployed(deployment):
        return None
    model = deployment["model"]
    if found.context not in (None, deployment["context"]):
        return (
            f"{model} is in memory with a context of {found.context} tokens, not "
            f"{deployment['context']}: a client sends options.num_ctx"
        )
    return (
        f"{model} is in memory with {found.parallel} slots, not {deployment['parallel']}: "
        "OLLAMA_NUM_PARALLEL of the server has changed"
    )
