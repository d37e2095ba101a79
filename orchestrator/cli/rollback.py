"""`deploy rollback`."""

import os

import click

from orchestrator.cli.options import common, read_profile, start_log
from orchestrator.cli.render import deployment as render
from orchestrator.cli.render import emit
from orchestrator.cli.terminal import progress
from orchestrator.home import Home
from orchestrator.lock import only_one
from orchestrator.rollback import roll_back
from orchestrator.site import Site


@click.command()
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Whose alias.")
@common
def rollback(
    profile_name: str | None, as_json: bool, verbose: bool, log_format: str | None
) -> None:
    """Go back to the deployment before, at once and without a download.

    A second rollback goes forward again.
    """
    start_log(verbose=verbose, log_format=log_format)
    profile, home = read_profile(profile_name, {}), Home.of(os.environ)
    with only_one(home, os.environ, "rollback"), progress() as screen:
        document = roll_back(Site.at(home, os.environ), profile, screen)
    emit(document, render(document), as_json=as_json)
