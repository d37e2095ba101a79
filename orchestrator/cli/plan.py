"""`deploy plan [TAG...]`."""

import os
from typing import Any

import click

from orchestrator.cli.options import common, planning, read_json, start_log
from orchestrator.cli.order import order_of
from orchestrator.cli.render import emit
from orchestrator.cli.render import plan as render
from orchestrator.home import Home
from orchestrator.machine_file import from_json
from orchestrator.order import Order, intend, nothing_fits
from orchestrator.plan import Plan
from orchestrator.server import Server
from orchestrator.survey import Survey, survey

NOTHING_FITS = 3


@click.command()
@click.argument("tags", nargs=-1)
@click.option("--server-version", help="Plan for this version of Ollama.")
@click.option("--machine", "machine_path", metavar="FILE", help="A machine from `probe --json`.")
@planning
@common
def plan(
    tags: tuple[str, ...],
    server_version: str | None,
    machine_path: str | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
    **flags: Any,
) -> None:
    """Say what would be deployed here, and why nothing larger. TAGs restrict the choice."""
    start_log(verbose=verbose, log_format=log_format)
    order = order_of(tags, flags)
    seen = _surveyed(order, machine_path, server_version)
    show(intend(order, seen), as_json=as_json)


def show(found: Plan, *, as_json: bool) -> None:
    """Print a plan; one without a pick is still printed, and ends with exit code 3."""
    emit(found.to_json(), render(found.to_json(), found.warnings), as_json=as_json)
    if as_json:
        for warning in found.warnings:
            click.echo(f"warning: {warning}", err=True)
    if found.chosen is None:
        failure = nothing_fits(found)
        click.echo(f"error: {failure.what}\nhint: {failure.hint}", err=True)
        raise click.exceptions.Exit(NOTHING_FITS)


def _surveyed(order: Order, machine_path: str | None, server_version: str | None) -> Survey:
    if machine_path is None:
        home = Home.of(os.environ)
        seen = survey(home, os.environ, parallel=order.profile.parallel)
        return seen.with_version(server_version)
    document = read_json(machine_path)
    machine = from_json(document, source=machine_path, server_version=server_version)
    server = Server(machine.server.host or "")
    return Survey(server=server, answers=False, machine=machine).with_version(server_version)
