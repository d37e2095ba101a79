"""`deploy verify [MODEL]`."""

import os
from dataclasses import replace

import click

from orchestrator.bundle.place import Place
from orchestrator.cli.options import common, read_profile, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render import verification as render
from orchestrator.cli.terminal import progress
from orchestrator.errors import PromiseBroken
from orchestrator.home import Home
from orchestrator.lock import only_one
from orchestrator.profile import Profile
from orchestrator.pull.verified import verified
from orchestrator.site import Site
from orchestrator.verify import verify as look


@click.command()
@click.argument("model", required=False)
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Whose alias.")
@common
def verify(
    model: str | None,
    profile_name: str | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Say whether the deployment still holds: names, files, memory, and one token. 7: it does not.

    Loads the model if it is not in memory as it was deployed; changes nothing else. With MODEL it
    hashes the files of that model in the server's store, deployed or not.
    """
    start_log(verbose=verbose, log_format=log_format)
    profile, home = read_profile(profile_name, {}), Home.of(os.environ)
    if model is None:
        _deployment(home, profile, as_json=as_json)
    else:
        _files(home, model, as_json=as_json)


def _deployment(home: Home, profile: Profile, *, as_json: bool) -> None:
    with only_one(home, os.environ, "verify"), progress() as screen:  # it may load the model
        document = look(Site.at(home, os.environ), profile, screen)
    emit(document, render(document), as_json=as_json)
    _leave(document["outcome"])


def _files(home: Home, model: str, *, as_json: bool) -> None:
    with progress() as screen:
        found = verified(_site(home), model, screen)
    emit(found.to_json(), f"{found.outcome:<10} {model}: {found.detail}", as_json=as_json)
    _leave(found.outcome)


def _site(home: Home) -> Site:
    """Return the site; where no server answers, with the store that one here would use."""
    site, place = Site.at(home, os.environ), Place.at(home, os.environ)
    if place.answers or place.folder is None:
        return site
    return replace(site, store_path=str(place.folder))


def _leave(outcome: str) -> None:
    if outcome == "failed":
        raise click.exceptions.Exit(PromiseBroken.exit_code)
