"""`deploy status`."""

import os
from typing import Any

import click

from orchestrator.cli.options import common, read_profile, start_log
from orchestrator.cli.render import deployment as render
from orchestrator.cli.render import emit
from orchestrator.home import Home
from orchestrator.standing import standing
from orchestrator.units import gib


@click.command()
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Whose alias.")
@common
def status(profile_name: str | None, as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Say what is deployed and whether it answers; changes nothing."""
    start_log(verbose=verbose, log_format=log_format)
    profile = read_profile(profile_name, {})
    document = standing(Home.of(os.environ), os.environ, profile.alias)
    emit(document, _text(document), as_json=as_json)


def _text(document: dict[str, Any]) -> str:
    server, deployed = document["server"], document["deployment"]
    state = f"Ollama {server['version']}" if server["answering"] else "does not answer"
    lines = [f"server    {server['host']}: {state}"]
    lines.append(render(deployed) if deployed else "deployed  nothing; `deploy auto` deploys")
    lines += [f"in memory {m['name']}: {gib(m['bytes'])} by the server" for m in document["loaded"]]
    lines += [f"finding   {f}" for f in document["findings"]]
    if deployed:
        lines.append(f"serving   {'yes' if document['serving'] else 'NO'}")
    return "\n".join(lines)
