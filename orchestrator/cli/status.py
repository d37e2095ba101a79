"""`deploy status`."""

import os
from typing import Any

import click

from orchestrator.cli.options import common, read_profile, start_log
from orchestrator.cli.render import deployment as render
from orchestrator.cli.render import emit
from orchestrator.errors import NothingDeployed, PromiseBroken, ServerUnreachable
from orchestrator.home import Home
from orchestrator.standing import standing
from orchestrator.units import gib


@click.command()
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Whose alias.")
@click.option("--check", is_flag=True, help="Exit 7 if it does not hold, 4 without a server.")
@common
def status(
    profile_name: str | None, check: bool, as_json: bool, verbose: bool, log_format: str | None
) -> None:
    """Say what is deployed and whether it answers; changes nothing."""
    start_log(verbose=verbose, log_format=log_format)
    profile = read_profile(profile_name, {})
    home = Home.of(os.environ)
    document = standing(home, os.environ, profile.alias, keep_alive=profile.keep_alive)
    if check:
        _require(document, profile.alias)
    emit(document, _text(document), as_json=as_json)
    if check and not document["holds"]:
        raise click.exceptions.Exit(PromiseBroken.exit_code)


def _require(document: dict[str, Any], alias: str) -> None:
    """Raise NothingDeployed or ServerUnreachable: then there is nothing to judge."""
    if document["deployment"] is None:
        raise NothingDeployed(f"nothing is deployed as {alias} at {document['server']['host']}")
    if not document["server"]["answering"]:
        raise ServerUnreachable(document["findings"][0])


def _text(document: dict[str, Any]) -> str:
    server, deployed = document["server"], document["deployment"]
    state = f"Ollama {server['version']}" if server["answering"] else "does not answer"
    lines = [f"server    {server['host']}: {state}"]
    lines.append(render(deployed) if deployed else "deployed  nothing; `deploy auto` deploys")
    lines += [f"in memory {m['name']}: {gib(m['bytes'])} by the server" for m in document["loaded"]]
    lines += [f"finding   {f}" for f in document["findings"]]
    lines += [f"note      {n}" for n in document["notes"]]
    if deployed:
        lines.append(f"serving   {'yes' if document['serving'] else 'NO'}")
        lines.append(f"holds     {'yes' if document['holds'] else 'NO'}")
    return "\n".join(lines)
