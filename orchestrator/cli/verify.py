"""`deploy verify`."""

import os

import click

from orchestrator.cli.options import common, read_profile, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render import verification as render
from orchestrator.cli.terminal import progress
from orchestrator.errors import PromiseBroken
from orchestrator.home import Home
from orchestrator.lock import only_one
from orchestrator.site import Site
from orchestrator.verify import verify as look


@click.command()
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Whose alias.")
@common
def verify(profile_name: str | None, as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Say whether the deployment still holds: names, files, memory, and one token. 7: it does not.

    Loads the model if it is not in memory as it was deployed; changes nothing else.
    """
    start_log(verbose=verbose, log_format=log_format)
    profile = read_profile(profile_name, {})
    home = Home.of(os.environ)
    with only_one(home, os.environ, "verify"), progress() as screen:  # it may load the model
        document = look(Site.at(home, os.environ), profile, screen)
    emit(document, render(document), as_json=as_json)
    if document["outcome"] == "failed":
        raise click.exceptions.Exit(PromiseBroken.exit_code)
