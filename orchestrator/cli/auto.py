"""`deploy auto [TAG...]`."""

import os
from dataclasses import replace
from typing import Any

import click

from orchestrator.cli.options import common, planning, start_log
from orchestrator.cli.order import order_of
from orchestrator.cli.plan import show
from orchestrator.cli.render import deployment as render
from orchestrator.cli.render import emit
from orchestrator.cli.render_rehearsal import rehearsal as render_rehearsal
from orchestrator.cli.terminal import progress
from orchestrator.deploy import deploy
from orchestrator.lock import only_one
from orchestrator.order import intend
from orchestrator.survey import survey


@click.command()
@click.argument("tags", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Stop after the plan.")
@click.option("--rehearse", is_flag=True, help="Prove each with a stand-in before its download.")
@click.option("--registry", metavar="URL", help="Pull through another registry, same tags.")
@click.option(
    "--fallback",
    type=click.Choice(["starter"]),
    help="Deploy a tiny starter model if no model source is reachable.",
)
@planning
@common
def auto(
    tags: tuple[str, ...],
    dry_run: bool,
    rehearse: bool,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
    **flags: Any,
) -> None:
    """Choose, download, load, measure and serve the best model that fits. Safe to repeat."""
    start_log(verbose=verbose, log_format=log_format)
    order = replace(order_of(tags, flags), rehearse=rehearse)
    if dry_run and rehearse:
        raise click.UsageError("--dry-run stops before a rehearsal: deploy plan --rehearse")
    if dry_run:
        seen = survey(order.home, os.environ, parallel=order.profile.parallel)
        show(intend(order, seen), as_json=as_json)
        return
    with only_one(order.home, os.environ, "auto"), progress() as screen:
        document = deploy(order, screen)
    if not document["changed"]:
        click.echo("nothing to do: what serves is what was asked for", err=True)
    rehearsed = render_rehearsal(document["rehearsal"]) if document.get("rehearsal") else ""
    text = f"{render(document)}{rehearsed}\n\nnext      `deploy env` prints how clients reach it"
    emit(document, text, as_json=as_json)
