"""`deploy env`."""

import os
import shlex

import click

from orchestrator.cli.options import common, read_profile, start_log
from orchestrator.cli.render import emit
from orchestrator.home import Home
from orchestrator.standing import client_environment


@click.command()
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Whose alias.")
@common
def env(profile_name: str | None, as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Print what a client needs: `eval "$(deploy env)"`, and a curl line that answers."""
    start_log(verbose=verbose, log_format=log_format)
    profile = read_profile(profile_name, {})
    found = client_environment(Home.of(os.environ), os.environ, profile.alias)
    lines = [
        f"export OPENAI_BASE_URL={shlex.quote(found['OPENAI_BASE_URL'])}",
        f"export OPENAI_API_KEY={shlex.quote(found['OPENAI_API_KEY'])}",
        f"export OPENAI_MODEL={shlex.quote(found['model'])}",
        f"# {found['curl']}",
    ]
    if found["note"]:
        lines.append(f"# {found['note']}")
    emit(found, "\n".join(lines), as_json=as_json)
