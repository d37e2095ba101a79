"""`deploy report`."""

import errno
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import common, start_log
from orchestrator.cli.render import emit
from orchestrator.errors import InvalidInput
from orchestrator.evidence import redactor, write
from orchestrator.home import Home
from orchestrator.ledger import Ledger

if TYPE_CHECKING:
    from orchestrator.report.contents import Contents
    from orchestrator.report.plots.svg import Drawing

_STDOUT, _PAGE = "-", "deploy-report.html"
_PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "-o",
    "--output",
    metavar="FILE.html",
    help="The page; - writes it to stdout. Default: deploy-report.html, if nothing else is asked.",
)
@click.option("--svg", "folder", type=_PATH, metavar="FOLDER", help="Each plot as a file, too.")
@click.option(
    "--prometheus",
    "textfile",
    type=_PATH,
    metavar="FILE.prom",
    help="The newest figures for node_exporter's textfile collector, too.",
)
@click.option("--model", metavar="MODEL", help="Whose history, in place of what is deployed.")
@common
def report(
    output: str | None,
    folder: Path | None,
    textfile: Path | None,
    model: str | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Write one HTML page: what is deployed and why, and everything that was measured.

    It opens offline and asks nobody for anything. Reads the ledger only.
    """
    start_log(verbose=verbose, log_format=log_format)
    if output == _STDOUT and as_json:
        raise InvalidInput("-o - and --json both want stdout", hint="name a file: -o FILE.html")
    if output is None and not (folder or textfile):
        output = _PAGE
    home = Home.of(os.environ)
    found = _contents(Ledger(home.ledger), os.environ, model)
    text = _page(found, home, folder)
    if textfile:
        from orchestrator.report.prometheus import write_textfile

        write_textfile(textfile, found.figures, next(iter(found.deployments), None))
    if output == _STDOUT:
        click.echo(text, nl=False)
        return
    if output:
        _write(Path(output), text)
    document = {
        "schema": 1,
        "file": output,
        "bytes": len(text) if output else None,
        "svg": str(folder) if folder else None,
        "prometheus": str(textfile) if textfile else None,
        "runs": len(found.figures),
        "deployments": len(found.deployments),
    }
    emit(document, _said(document), as_json=as_json)


def _said(document: Mapping[str, Any]) -> str:
    """Return what was written where."""
    lines = [f"runs      {document['runs']}"]
    if document["file"]:
        lines.append(f"report    {document['file']} ({document['bytes'] / 1000:.0f} kB)")
    lines += [f"plots     {document['svg']}"] if document["svg"] else []
    lines += [f"textfile  {document['prometheus']}"] if document["prometheus"] else []
    return "\n".join(lines)


def _contents(ledger: Ledger, environ: Mapping[str, str], model: str | None) -> "Contents":
    from orchestrator.report.contents import contents
    from orchestrator.runtime import server_host

    return contents(ledger, server_host(environ), redactor(environ).document, model)


def _page(found: "Contents", home: Home, folder: Path | None) -> bytes:
    # Where matplotlib keeps its list of fonts; by itself it asks for a folder in the home. Where it
    # can be kept nowhere the list is made each time: nothing to warn of.
    os.environ.setdefault("MPLCONFIGDIR", str(home.cache / "matplotlib"))
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from orchestrator.report.page import page, plots

    drawn = plots(found)
    if folder:
        _save(folder, drawn.all)
    return _bytes(page(found, drawn))


def _save(folder: Path, drawn: "list[Drawing]") -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        if e.errno == errno.ENOSPC:  # which the command line answers as everywhere
            raise
        raise InvalidInput(
            f"{folder} cannot be made: {e.strerror}", hint="name a folder that you may write"
        ) from e
    for each in drawn:
        _write(folder / f"{each.name}.svg", _bytes(each.standalone))


def _write(path: Path, text: bytes) -> None:
    write(path, lambda target: target.write_bytes(text))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # JSON may hold what is no character
