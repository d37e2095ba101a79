"""`deploy doctor`."""

import os
from pathlib import Path

import click

from orchestrator.cli.options import common, read_profile, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render_probe import checks as render
from orchestrator.doctor import document, examine
from orchestrator.errors import CheckFailed
from orchestrator.examine import rounds
from orchestrator.home import Home
from orchestrator.probe.capture import captured
from orchestrator.probe.sight import Sight
from orchestrator.runtime import ours
from orchestrator.survey import look


@click.command()
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Whose alias.")
@click.option(
    "--bundle",
    "bundle_path",
    type=click.Path(path_type=Path),
    metavar="FILE.zip",
    help="A redacted archive for a bug report.",
)
@common
def doctor(
    profile_name: str | None,
    bundle_path: Path | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Say what is wrong with this box or could be better, each with its remedy. 11: a check failed.

    Changes nothing.
    """
    start_log(verbose=verbose, log_format=log_format)
    profile = read_profile(profile_name, {})
    home = Home.of(os.environ)
    sight = Sight(seen={} if bundle_path else None)
    seen = look(os.environ, sight)
    found = document(examine(rounds(home, os.environ, profile.alias, seen)))
    if bundle_path:
        from orchestrator.evidence import bundle

        server = ours(home, seen.server.host)
        bundle(
            bundle_path,
            home,
            os.environ,
            machine=captured(seen.machine, sight),
            checks=found,
            server_log=server.log if server else None,
        )
        click.echo(f"saved to {bundle_path}: look into it before you send it", err=True)
    emit(found, render(found), as_json=as_json)
    if found["outcome"] == "fail":
        raise click.exceptions.Exit(CheckFailed.exit_code)
