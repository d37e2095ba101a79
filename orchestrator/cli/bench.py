"""`deploy bench MODEL`."""

from typing import Any

import click

from orchestrator.cli.options import common, start_log
from orchestrator.cli.order import order_of
from orchestrator.cli.render import bench as render
from orchestrator.cli.render import emit
from orchestrator.cli.terminal import progress
from orchestrator.errors import Inconclusive, ServerUnreachable
from orchestrator.lock import only_one
from orchestrator.measure import bench as measure
from orchestrator.survey import survey


@click.command()
@click.argument("model")
@click.option("--quick", is_flag=True, help="About two minutes: fewer, shorter samples.")
@click.option("--context", type=int, help="Tokens a slot, for a model that is not deployed.")
@click.option("--profile", "profile_name", metavar="NAME|FILE")
@common
def bench(
    model: str, quick: bool, as_json: bool, verbose: bool, log_format: str | None, **flags: Any
) -> None:
    """Measure MODEL, a model on the server: speed, first token, load time, peak memory.

    The name of a deployment (its tag, alias or derived name) is measured with its own options.
    """
    start_log(verbose=verbose, log_format=log_format)
    order = order_of((), flags)
    seen = survey(order.home, order.environ, parallel=order.profile.parallel)
    if not seen.answers:
        raise ServerUnreachable(f"no Ollama server answers at {seen.server.host}")
    with only_one(order.home, order.environ, "bench"), progress() as screen:
        document = measure(order, seen, model, "quick" if quick else "default", screen)
    emit(document, render(document), as_json=as_json)
    if document["verdict"]["outcome"] == "inconclusive":
        raise click.exceptions.Exit(Inconclusive.exit_code)
