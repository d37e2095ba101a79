"""`deploy receipt`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from orchestrator import __version__, schema
from orchestrator.cli.options import common, read_json, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render_receipt import page, side_by_side
from orchestrator.errors import InvalidInput
from orchestrator.evidence import redactor, write
from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.report.receipt import checked
from orchestrator.report.receipt import receipt as receipt_of
from orchestrator.report.receipt_comparison import compare
from orchestrator.runtime.address import server_host

_LOOKED_BACK = 1000
_LARGEST_RUN = 2**63 - 1  # of SQLite


@click.command()
@click.argument("run", required=False, type=click.IntRange(1, _LARGEST_RUN))
@click.option(
    "--compare",
    "pair",
    nargs=2,
    metavar="A B",
    help="Two side by side: numbers of runs, or receipts written with -o FILE.json.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it there; FILE.json: the document.",
)
@common
def receipt(
    run: int | None,
    pair: tuple[str, str] | None,
    output: Path | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Tell one bench run on a page that may be passed on: no names, no addresses, no paths.

    Without RUN it is the last of what is deployed, else the last of all.
    """
    start_log(verbose=verbose, log_format=log_format)
    if run is not None and pair:
        raise click.UsageError("RUN and --compare exclude each other: --compare takes both")
    ledger = Ledger(Home.of(os.environ).ledger)
    if pair:
        a, b = (_named(ledger, name) for name in pair)
        document = compare(a, b, (_source(pair[0]), _source(pair[1])))
        _give(document, side_by_side(document), output, as_json=as_json)
        return
    document = _made(ledger, _bench(ledger, run))
    _give(document, page(document), output, as_json=as_json)


def _give(document: Mapping[str, Any], text: str, output: Path | None, *, as_json: bool) -> None:
    """Print the answer, or write it to a file in one step."""
    if output is None or str(output) == "-":
        emit(document, text, as_json=as_json)
        return
    if as_json or output.suffix == ".json":
        text = json.dumps(document, indent=1, ensure_ascii=False)
    content = f"{text}\n".encode("utf-8", "backslashreplace")
    write(output, lambda target: target.write_bytes(content))
    click.echo(f"written to {output}", err=True)


def _bench(ledger: Ledger, run: int | None) -> dict[str, Any]:
    """Return the run of that number; without one the last of what is deployed, else of all."""
    number = _last(ledger) if run is None else run
    if number is None:
        raise InvalidInput("nothing was measured yet", hint="measure with `deploy bench MODEL`")
    return ledger.known_run(number)


def _last(ledger: Ledger) -> int | None:
    for deployed in ledger.currents(server_host(os.environ)):
        rows = ledger.figures(model=deployed["model"])  # which also finds parts of names
        if own := [r["id"] for r in rows if r["model"] == deployed["model"]]:
            return int(own[0])
    rows = ledger.figures(limit=1)
    return int(rows[0]["id"]) if rows else None


def _made(ledger: Ledger, bench: dict[str, Any]) -> dict[str, Any]:
    return receipt_of(
        bench,
        deployment=_deployment(ledger, bench),
        machine=ledger.machine(bench["machine"]["digest"]),
        version=__version__,
        redactor=redactor(os.environ),
    )


def _deployment(ledger: Ledger, bench: dict[str, Any]) -> dict[str, Any] | None:
    """Return the deployment that a run measured: its own, else the newest of the same model."""
    known = ledger.deployments(_LOOKED_BACK)
    same = (d for d in known if (d["model"], d["digest"]) == (bench["model"], bench["digest"]))
    own = (d for d in known if d["id"] == bench.get("deployment"))
    return next(own, None) or next(same, None)


def _named(ledger: Ledger, name: str) -> dict[str, Any]:
    """Return the receipt that a word of --compare means: the number of a run, or a file."""
    if _is_run(name):
        return _made(ledger, _bench(ledger, int(name)))
    try:
        document = read_json(name)
    except InvalidInput as e:
        hint = "name a run of `deploy history`, or a file of `deploy receipt -o FILE.json`"
        raise InvalidInput(e.what, hint=hint) from e
    return checked(document, schema.load("receipt"), name)


def _source(name: str) -> str:
    return f"run {name}" if _is_run(name) else name


def _is_run(name: str) -> bool:
    """Whether it is a number that a run can have; a file of such a name is called ./7."""
    return (
        name.isascii() and name.isdigit() and len(name) < len(str(_LARGEST_RUN)) and int(name) > 0
    )
