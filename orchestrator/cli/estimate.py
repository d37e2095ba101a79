"""`deploy estimate MODEL`."""

from pathlib import Path
from typing import get_args

import click

from orchestrator.catalog import Catalog
from orchestrator.catalog.requantized import requantized
from orchestrator.cli.options import common, read_json, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render import estimate as render
from orchestrator.errors import InvalidInput
from orchestrator.gguf import header
from orchestrator.gguf.facts import candidate_of
from orchestrator.lone import estimated
from orchestrator.machine_file import from_json
from orchestrator.memory import KvType
from orchestrator.model import Candidate
from orchestrator.settings import Wishes

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
    """Predict memory and speed of MODEL: a tag or a .gguf file.

    Without --machine: one CUDA card that takes all layers, by the newest server's rules.
    """
    start_log(verbose=verbose, log_format=log_format)
    candidate = _candidate(model)
    if quantize is not None:
        candidate = requantized(Catalog.bundled(), candidate, quantize)
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
    found = estimated(candidate, wishes, machine, server_version, gpu_layers)
    for key, wish in found.requested.items():
        click.echo(f"warning: {key} {wish['asked']}: {wish['reason']}", err=True)
    document = found.to_json()
    emit(document, render(document), as_json=as_json)


def _candidate(model: str) -> Candidate:
    """Return a library model, or what the header of a .gguf file describes."""
    if not model.endswith(".gguf"):
        return Catalog.bundled().find(model)
    path = Path(model)
    try:
        with path.open("rb") as stream:
            return candidate_of(path.name, header.read(stream), path.stat().st_size)
    except OSError as e:
        hint = "name a .gguf file that can be read, or a tag of `deploy catalog`"
        raise InvalidInput(f"{model}: {e.strerror}", hint=hint) from e
