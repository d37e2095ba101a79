"""`deploy runbook list|run`."""

import os

import click

from orchestrator.cli.main import as_deploy_error
from orchestrator.cli.order import order_of
from orchestrator.cli.render import emit, table
from orchestrator.runbook import RUNBOOKS
from orchestrator.units import duration


@click.group()
def runbook() -> None:
    """What cron runs: quiet if all is well, one line and an exit code if not."""


@runbook.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_all(as_json: bool) -> None:
    """List the runbooks and their deadlines."""
    books = [
        {"name": name, "deadline_s": book.deadline_s, "summary": book.summary}
        for name, book in RUNBOOKS.items()
    ]
    rows = [(name, duration(book.deadline_s), book.summary) for name, book in RUNBOOKS.items()]
    text = table(rows, ("runbook", "deadline", "does"))
    emit({"schema": 1, "runbooks": books}, text, as_json=as_json)


@runbook.command()
@click.argument("name", type=click.Choice(list(RUNBOOKS)))
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="The deployment's profile.")
@click.option("--registry", metavar="URL", help="Refresh through another registry, same tags.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def run(name: str, profile_name: str | None, registry: str | None, as_json: bool) -> None:
    """Run one now, as cron would."""
    from orchestrator.runbook import frame

    flags = {"profile_name": profile_name, "registry": registry}
    outcome = frame.run(name, os.environ, lambda: order_of((), flags), as_deploy_error)
    if outcome.line:
        click.echo(outcome.line, err=True)
    if as_json:
        emit(outcome.to_json(), "", as_json=True)
    raise click.exceptions.Exit(outcome.code)
