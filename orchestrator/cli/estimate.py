"""`deploy estimate MODEL`."""

import os
from collections.abc import Iterator
from typing import Any, get_args

import click

from orchestrator.budget import budget
from orchestrator.cli.options import common, read_json, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render import estimate as render
from orchestrator.cli.terminal import progress
from orchestrator.estimate import Estimate
from orchestrator.fit import graded, shortfall
from orchestrator.grade import Grades
from orchestrator.home import Home
from orchestrator.lone import estimated
from orchestrator.machine import Machine
from orchestrator.machine_file import from_json
from orchestrator.memory import KvType
from orchestrator.order import grades
from orchestrator.origin import described
from orchestrator.plan import unmet
from orchestrator.settings import Wishes
from orchestrator.source.described import Described
from orchestrator.units import MIB, gib

_FLASH = {"on": True, "off": False, "auto": None}


@click.command()
@click.argument("model")
@click.option("--context", type=int, help="Tokens a slot (num_ctx).")
@click.option("--parallel", type=int, help="Slots.")
@click.option("--kv-cache-type", type=click.Choice(get_args(KvType)))
@click.option("--flash-attention", type=click.Choice(list(_FLASH)), default="auto")
@click.option("--quantize", metavar="Q", help="As if the file had this quantization.")
@click.option("--gpu-layers", type=int, help="Layers on the first GPU instead of all that fit.")
@click.option("--num-batch", type=int, help="Tokens of one prefill step.")
@click.option("--server-version", help="Ollama's version: decides formulas and defaults.")
@click.option("--machine", "machine_path", metavar="FILE", help="A machine from `probe --json`.")
@common
def estimate(
    model: str,
    context: int | None,
    parallel: int | None,
    kv_cache_type: KvType | None,
    flash_attention: str,
    quantize: str | None,
    gpu_layers: int | None,
    num_batch: int | None,
    server_version: str | None,
    machine_path: str | None,
    as_json: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Predict memory and speed of MODEL.

    MODEL is a tag of the catalogue, a .gguf file, a model of the server's store, HOST/NAMESPACE/
    NAME:TAG of a registry, or hf:ORG/REPO, hf:ORG/REPO:Q4_K_M or hf:ORG/REPO/FILE.gguf of the
    hub, of which the headers alone are fetched.

    Without --machine: one CUDA card that takes all layers, by the newest server's rules.
    """
    start_log(verbose=verbose, log_format=log_format)
    with progress() as shown:
        source = described(model, quantize, os.environ, shown)
    machine = None
    if machine_path:
        document = read_json(machine_path)
        machine = from_json(document, source=machine_path, server_version=server_version)
    wishes = Wishes(
        context=context,
        parallel=parallel,
        kv_cache_type=kv_cache_type,
        flash_attention=_FLASH[flash_attention],
        num_batch=num_batch,
    )
    found = estimated(source.candidate, wishes, machine, server_version, gpu_layers)
    seen = grades(Home.of(os.environ), machine) if machine else Grades()
    found = graded(found, seen, machine) if machine else found
    faults = [seen.fault] if seen.fault else []
    for warning in (*faults, *unmet(found), *_too_large(found, machine)):
        click.echo(f"warning: {warning}", err=True)
    document = _document(found, source)
    emit(document, _text(document), as_json=as_json)


def _too_large(found: Estimate, machine: Machine | None) -> Iterator[str]:
    """Say that the machine does not have what the model would take."""
    short, where = shortfall(found, budget(machine, None)) if machine else (0, "")
    if short:
        yield f"it does not fit: short by {gib(short)} {where}; the figures are what it would take"


def _document(found: Estimate, source: Described) -> dict[str, Any]:
    return found.to_json() | {"origin": source.to_json()}


def _text(document: dict[str, Any]) -> str:
    """Return the estimate, and where a model that is not the catalogue's was read."""
    lines, origin = [render(document)], document["origin"]
    if origin["kind"] != "catalog":
        fetched = origin["transferred_bytes"]
        how = f", {fetched / MIB:.1f} MiB of it read" if fetched else ""
        lines.append(f"origin    {origin['where']}{how}")
    return "\n".join(lines + [f"note      {note}" for note in origin["notes"]])
