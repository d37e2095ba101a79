"""`deploy history`."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import click
from click.core import ParameterSource

from orchestrator.cli.options import common, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render_history import as_csv, lists, one_run
from orchestrator.errors import InvalidInput
from orchestrator.home import Home
from orchestrator.ledger import Ledger, Wanted
from orchestrator.units import parse_duration

What = Literal["deployments", "bench", "all"]
_FILTERS = ("model", "since", "what", "limit", "csv")


@dataclass(frozen=True, slots=True)
class _Asked:
    what: What
    wanted: Wanted
    limit: int


@click.command()
@click.option("--model", metavar="TEXT", help="Part of a tag, an alias or a derived name.")
@click.option(
    "--since", metavar="WHEN", help="A date in UTC, or how long ago: 2026-11-01, 7d, 12h."
)
@click.option(
    "--what", type=click.Choice(["deployments", "bench", "all"]), default="all", show_default=True
)
@click.option("--run", "number", type=int, metavar="N", help="One bench run with all its samples.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=20,
    show_default=True,
    help="At most so many of each kind.",
)
@click.option("--csv", is_flag=True, help="One row a bench run on stdout, without samples.")
@common
@click.pass_context
def history(
    ctx: click.Context,
    model: str | None,
    since: str | None,
    what: What,
    number: int | None,
    limit: int,
    csv: bool,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """List deployments and bench runs, newest first.

    Case does not matter in --model. `standing` says what later runs may be held against: a
    baseline, the one that `deploy bench accept` pinned, or nothing because the run is out (noise,
    no end, a loss of speed).
    """
    start_log(verbose=verbose, log_format=log_format)
    _refuse_contradictions(ctx, csv=csv, as_json=as_json, what=what)
    ledger = Ledger(Home.of(os.environ).ledger)
    if number is not None:
        bench = ledger.known_run(number)
        emit(bench, one_run(bench), as_json=as_json)
        return
    asked = _Asked(what, Wanted(model=model, since=since_of(since, datetime.now(UTC))), limit)
    if csv:
        click.echo(as_csv(_figures(ledger, asked)), nl=False)
    elif as_json:
        emit(_document(ledger, asked), "", as_json=True)
    else:
        click.echo(lists(_deployments(ledger, asked), _figures(ledger, asked)))


def since_of(text: str | None, now: datetime) -> datetime | None:
    """Return the time that a date, or a duration before `now`, names.

    Raises InvalidInput: it is neither.
    """
    if text is None:
        return None
    try:
        # 20261101 is a date, and a number without a unit no duration.
        if text.isdigit() or "-" in text:
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        return now - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError) as e:
        raise InvalidInput(
            f"--since: {text!r} is neither a date nor a time ago",
            hint="write a date as 2026-11-01, or how long ago as 7d or 12h",
        ) from e


def _refuse_contradictions(ctx: click.Context, *, csv: bool, as_json: bool, what: What) -> None:
    if csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    if csv and what == "deployments":
        raise click.UsageError("--csv has a row a bench run: --what deployments has none")
    given = [f for f in _FILTERS if ctx.get_parameter_source(f) is ParameterSource.COMMANDLINE]
    if ctx.params["number"] is not None and given:
        raise click.UsageError(f"--run shows one bench run: it and --{given[0]} exclude each other")


def _deployments(ledger: Ledger, asked: _Asked) -> list[dict[str, Any]]:
    return [] if asked.what == "bench" else ledger.deployments(asked.limit, asked.wanted)


def _figures(ledger: Ledger, asked: _Asked) -> list[dict[str, Any]]:
    if asked.what == "deployments":
        return []
    return ledger.figures(model=asked.wanted.model, since=asked.wanted.since, limit=asked.limit)


def _document(ledger: Ledger, asked: _Asked) -> dict[str, Any]:
    runs = ledger.bench_runs(asked.limit, asked.wanted) if asked.what != "deployments" else []
    return {"schema": 1, "deployments": _deployments(ledger, asked), "bench_runs": runs}
