"""`deploy bundle create|load|show`."""

import os
from pathlib import Path

import click

from orchestrator.bundle.archive import peek
from orchestrator.bundle.create import Created
from orchestrator.bundle.create import create as write
from orchestrator.bundle.load import load as read
from orchestrator.cli.options import common, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render_bundle import created, loaded
from orchestrator.cli.terminal import progress
from orchestrator.home import Home
from orchestrator.lock import only_one

_FILE = click.Path(path_type=Path)


@click.group()
def bundle() -> None:
    """Carry models across an air gap: one file, every byte of it verified."""


@bundle.command()
@click.argument("models", nargs=-1, required=True)
@click.option("-o", "--output", "file", type=_FILE, required=True, metavar="FILE")
@click.option("--with-runtime", is_flag=True, help="The Ollama of this box too.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@common
def create(
    models: tuple[str, ...],
    file: Path,
    with_runtime: bool,
    force: bool,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Write models of the server's store into FILE; no server need run.

    With --with-runtime a box that has only deploy can serve them.
    """
    start_log(verbose=verbose, log_format=log_format)
    with progress() as screen:
        done = write(
            models,
            file,
            Home.of(os.environ),
            os.environ,
            screen,
            with_runtime=with_runtime,
            force=force,
        )
    emit(done.to_json(), created(done), as_json=as_json)


@bundle.command()
@click.argument("file", type=_FILE)
@click.option("--through-api", is_flag=True, help="Give them to the server; write no store.")
@click.option("--force", is_flag=True, help="Replace a name that stands for another model.")
@common
def load(
    file: Path,
    through_api: bool,
    force: bool,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Load the models of FILE, every byte of it verified; what is there is verified instead.

    Where no server answers, its store is filled; the runtime of FILE is installed if this box has
    none, and started. Interrupt it at any time: the same command finishes it.
    """
    start_log(verbose=verbose, log_format=log_format)
    home = Home.of(os.environ)
    with only_one(home, os.environ, "bundle load"), progress() as screen:
        done = read(file, home, os.environ, screen, through_the_api=through_api, force=force)
    emit(done.to_json(), loaded(done), as_json=as_json)


@bundle.command()
@click.argument("file", type=_FILE)
@common
def show(file: Path, as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Say what FILE holds, by its index alone: `load` verifies the rest."""
    start_log(verbose=verbose, log_format=log_format)
    index = peek(file)
    done = Created(file=file, size_bytes=file.stat().st_size, index=index)
    emit(done.to_json(), created(done), as_json=as_json)
