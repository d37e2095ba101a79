"""`deploy probe`."""

import os
from pathlib import Path

import click

from orchestrator.cli.options import common, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render_probe import machine as render
from orchestrator.probe import measured
from orchestrator.probe.capture import captured
from orchestrator.probe.sight import Sight
from orchestrator.survey import look


@click.command()
@click.option(
    "--measure", is_flag=True, help="Also memory bandwidth and the disk's read rate (1 s)."
)
@click.option(
    "--save",
    "save_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A redacted machine file for `--machine`, with all that was read.",
)
@common
def probe(
    measure: bool,
    save_path: Path | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Show the machine as the Ollama server may use it; never changes anything."""
    start_log(verbose=verbose, log_format=log_format)
    sight = Sight(seen={} if save_path else None)
    seen = look(os.environ, sight)
    machine = seen.machine
    if seen.refusal:
        click.echo(f"warning: {seen.refusal.what}", err=True)
    if measure:
        machine = measured(machine, sight)
    if save_path:
        from orchestrator.evidence import save

        save(save_path, captured(machine, sight), os.environ)
        click.echo(
            f"saved to {save_path}: `deploy plan --machine {save_path}` plans on it", err=True
        )
    emit(machine.to_json(), render(machine), as_json=as_json)
