"""`deploy schema [NAME]`."""

import json

import click

from orchestrator.schema import load, names


@click.command()
@click.argument("name", required=False)
def schema(name: str | None) -> None:
    """Print the JSON Schema of an output, or the names of all."""
    click.echo("\n".join(names()) if name is None else json.dumps(load(name), indent=2))
