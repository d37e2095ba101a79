"""`deploy pull MODEL`."""

import os
from dataclasses import replace
from typing import Any, get_args

import click

from orchestrator.cli.options import common, rate_option, start_log
from orchestrator.cli.order import order_of
from orchestrator.cli.render import emit
from orchestrator.cli.render_pull import intents as render_intents
from orchestrator.cli.render_pull import obtained as render
from orchestrator.cli.terminal import progress
from orchestrator.errors import ServerUnreachable
from orchestrator.order import Order
from orchestrator.profile.keys import SourceName
from orchestrator.progress import Progress
from orchestrator.pull.forecast import forecast
from orchestrator.pull.obtain import obtain
from orchestrator.pull.request import Request
from orchestrator.pull.sources import Sources
from orchestrator.runtime.address import is_loopback
from orchestrator.serving import serving
from orchestrator.site import Site

_SOURCES = get_args(SourceName)


@click.command()
@click.argument("model")
@click.option("--source", type=click.Choice(_SOURCES), help="Only from there.")
@click.option("--registry", metavar="URL", help="Through this registry, same tags.")
@click.option("--quantize", metavar="Q", help="What safetensors become: Q4_K_M, Q8_0, F16.")
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
    request = Request.read(model, source, order.profile)
    if request.kind == "bundle":
        order = replace(order, profile=order.profile.override({"bundles": model}, "MODEL"))
    with progress() as screen:
        if dry_run:
            site = Site.at(order.home, os.environ)
            found = forecast(request, _sources(order, site, quantize), site.ledger)
            emit(found.to_json(), render_intents(found), as_json=as_json)
            found.check()
            return
        site = _answering(order, screen)
        sources = _sources(order, site, quantize).of(request)
        got = obtain(site, order.home, request.name, sources, screen)
    emit(got.to_json(), render(got), as_json=as_json)


def _sources(order: Order, site: Site, quantize: str | None) -> Sources:
    return Sources(order=order, server=site.server, store_path=site.store_path, quantize=quantize)


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
