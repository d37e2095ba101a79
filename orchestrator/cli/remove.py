"""`deploy remove [MODEL]`."""

import os

import click

from orchestrator.cli.options import common, read_profile, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.terminal import progress
from orchestrator.home import Home
from orchestrator.lock import only_one
from orchestrator.remove import Removed
from orchestrator.remove import remove as take_away
from orchestrator.site import Site
from orchestrator.units import gb


@click.command()
@click.argument("model", required=False)
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Whose alias.")
@common
def remove(
    model: str | None,
    profile_name: str | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Take a deployment away: its names, and its download if deploy fetched it.

    MODEL is the tag, alias or derived name of what serves (the default) or served before.
    """
    start_log(verbose=verbose, log_format=log_format)
    profile, home = read_profile(profile_name, {}), Home.of(os.environ)
    with only_one(home, os.environ, "remove"), progress() as screen:
        removed = take_away(Site.at(home, os.environ), profile, model, screen)
    emit(removed.document, _text(removed), as_json=as_json)


def _text(removed: Removed) -> str:
    lines = [f"removed   {removed.document['tag']}, deployed {removed.document['deployed_at']}"]
    lines += [f"taken     {name}" for name in removed.taken]
    lines += [f"note      {sentence}" for sentence in removed.stays]
    freed = removed.freed_bytes
    lines.append(
        f"freed     {'unknown: the store is not in sight' if freed is None else gb(freed)}"
    )
    return "\n".join(lines)
