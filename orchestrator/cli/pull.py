"""`deploy pull MODEL`."""

from contextlib import suppress
from dataclasses import replace
from typing import Any, get_args

import click

from orchestrator.cli.options import common, rate_option, start_log
from orchestrator.cli.order import order_of
from orchestrator.cli.render import emit
from orchestrator.cli.render_pull import intents as render_intents
from orchestrator.cli.render_pull import obtained as render
from orchestrator.cli.terminal import progress
from orchestrator.errors import InvalidInput, ServerUnreachable
from orchestrator.ledger import Ledger
from orchestrator.model import ModelRef
from orchestrator.order import Order
from orchestrator.profile.keys import SourceName
from orchestrator.progress import Progress
from orchestrator.pull.forecast import Forecast, forecast
from orchestrator.pull.obtain import obtain
from orchestrator.pull.request import Request
from orchestrator.pull.sources import Sources
from orchestrator.runtime.address import is_loopback
from orchestrator.serving import serving
from orchestrator.site import Site
from orchestrator.survey import survey

_SOURCES = get_args(SourceName)


@click.command()
@click.argument("model")
@click.option("--source", type=click.Choice(_SOURCES), help="Only from there.")
@click.option("--registry", metavar="URL", help="Through this registry, same tags.")
@click.option("--quantize", metavar="Q", help="What safetensors become: Q4_K_M, Q8_0, F16.")
@click.option("--as", "called", metavar="NAME", help="Name it so: for hf: and .gguf files.")
@click.option(
    "--limit-rate", callback=rate_option, metavar="RATE", help="Downloads of ours: 5MB/s."
)
@click.option("--connections", type=int, help="Files that we fetch at once.")
@click.option("--dry-run", is_flag=True, help="Say what, from where, how many bytes, how long.")
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Whose sources.")
@common
def pull(
    model: str,
    source: SourceName | None,
    quantize: str | None,
    called: str | None,
    limit_rate: int | None,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
    **flags: Any,
) -> None:
    """Download a model and verify every byte; what is there already does not move again.

    MODEL is a tag, hf:ORG/REPO[@REVISION][:QUANT] or hf:ORG/REPO/FILE.gguf of the hub, a .gguf
    file, a bundle, or HOST/NAMESPACE/NAME:TAG of a registry. Interrupt it at any time: the same
    command goes on from there.
    """
    start_log(verbose=verbose, log_format=log_format)
    order = order_of((), {**flags, "limit_rate_bytes": limit_rate})
    request, called = Request.read(model, source, order.profile), _name(called)
    named = flags["registry"] if source != "mirror" else None
    _check(request, source, **{"registry": named, "quantize": quantize, "as": called})
    if request.kind == "bundle":
        order = replace(order, profile=order.profile.override({"bundles": model}, "MODEL"))
    with progress() as screen:
        if dry_run:
            sources = _sources_to_be(order, quantize, called)
            found = forecast(request, sources, Ledger(order.home.ledger), screen)
            emit(found.to_json(), render_intents(found), as_json=as_json)
            _leave(found, as_json=as_json)
            return
        site = _answering(order, screen)
        sources = _sources(order, site, quantize, called)
        got = obtain(site, order.home, request.name, sources.of(request), screen)
    emit(got.to_json(), render(got), as_json=as_json)


def _check(request: Request, source: str | None, **given: str | None) -> None:
    """Refuse a flag that says nothing about this request, rather than pass it over."""
    made = request.kind in ("hub", "file")
    reasons = {
        "--registry": None if "mirror" in request.sources else "it does not come from a registry",
        "--quantize": None if "hub" in request.sources else "only safetensors are quantized here",
        "--as": None if made else "it has a name",
    }
    for flag, value in given.items():
        name = f"--{flag}"
        if value is not None and (why := reasons[name]):
            where = f" from source {source}" if source else ""
            raise InvalidInput(f"{name} {value}: {request.name}{where}: {why}", hint="leave it out")


def _name(called: str | None) -> str | None:
    """Return a name for the server, with its tag. Raises InvalidInput: none."""
    try:
        return None if called is None else str(ModelRef.parse(called))
    except ValueError as e:
        raise InvalidInput(f"--as: {e}", hint="write it as NAME or NAME:TAG") from e


def _sources(order: Order, site: Site, quantize: str | None, called: str | None) -> Sources:
    return Sources(
        order=order,
        server=site.server,
        store_path=site.store_path,
        quantize=quantize,
        called=called,
    )


def _sources_to_be(order: Order, quantize: str | None, called: str | None) -> Sources:
    """Return the sources of the server; of the one that would be started, where none answers."""
    site = Site.at(order.home, order.environ)
    sources = _sources(order, site, quantize, called)
    with suppress(ServerUnreachable):
        site.server.version()
        return sources
    seen = survey(order.home, order.environ, parallel=order.profile.parallel)
    machine = seen.machine
    return replace(sources, version=machine.server.version, store_path=machine.disk.model_store)


def _leave(found: Forecast, *, as_json: bool) -> None:
    """End with the exit code of the first source where none can deliver; the answer is printed."""
    if failure := found.failure:
        if not as_json:
            click.echo(f"error: {failure.what}\nhint: {failure.hint}", err=True)
        raise click.exceptions.Exit(failure.exit_code)


def _answering(order: Order, screen: Progress) -> Site:
    """Return the site of a server that answers; on this box one is started if none does."""
    site = Site.at(order.home, order.environ)
    try:
        site.server.version()
    except ServerUnreachable:
        if not is_loopback(site.server.host):
            raise
        serving(order, screen)
        return Site.at(order.home, order.environ)
    return site
