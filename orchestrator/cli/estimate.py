"""`deploy estimate MODEL`."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product, takewhile
from pathlib import Path
from typing import Any, get_args

import click

from orchestrator.budget import budget
from orchestrator.catalog import Catalog
from orchestrator.cli.options import common, read_json, start_log
from orchestrator.cli.render import emit
from orchestrator.cli.render import estimate as render
from orchestrator.errors import InvalidInput
from orchestrator.estimate import Estimate
from orchestrator.estimate import estimate as predict
from orchestrator.fit import SUPPORTED, target_of
from orchestrator.gguf import facts, header
from orchestrator.gguf.layout import at_quantization, spread
from orchestrator.machine import Machine, ServerSettings
from orchestrator.machine_file import from_json
from orchestrator.memory import Device, KvType
from orchestrator.model import BITS_PER_WEIGHT, Candidate
from orchestrator.placement import Card, Load, everywhere, place
from orchestrator.settings import Wishes, effective

_ANY_CARD = (Card(index=0, free_bytes=0),)
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
    candidate = _quantized(_candidate(model), quantize)
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


def estimated(
    candidate: Candidate,
    wishes: Wishes,
    machine: Machine | None,
    server_version: str | None,
    gpu_layers: int | None,
) -> Estimate:
    """Return the estimate of a candidate on a machine, or on one card that takes it all."""
    _check(candidate, gpu_layers)
    version = server_version or (machine.server.version if machine else None)
    if machine:
        machine = replace(machine, server=replace(machine.server, version=version))
    cards = budget(machine, None).cards if machine else _ANY_CARD
    if gpu_layers and not cards:
        raise InvalidInput(f"--gpu-layers {gpu_layers}: this machine has no usable GPU")
    device: Device = "metal" if cards and cards[0].metal else "cuda"
    load, requested = _load(candidate, wishes, machine, version, device)
    placement = everywhere(load, cards[0].index if cards else 0, gpu_layers)
    if machine and gpu_layers is None:
        placement = place(load, cards)
    if placement.kind == "cpu":
        load, requested = _load(candidate, wishes, machine, version, "cpu")
    return predict(
        target_of(candidate, version), load, placement, machine=machine, requested=requested
    )


def _check(candidate: Candidate, gpu_layers: int | None) -> None:
    name, form = candidate.architecture.name, candidate.format
    if gpu_layers is not None and gpu_layers < 0:
        raise InvalidInput(f"--gpu-layers {gpu_layers}: must not be negative")
    if form != "gguf":
        raise InvalidInput(f"{candidate.tag} is {form}, not GGUF: its memory is not known")
    if name not in SUPPORTED:
        raise InvalidInput(
            f"architecture {name} is unknown, and not guessed",
            hint=f"known are {', '.join(SUPPORTED)}",
        )


def _load(
    candidate: Candidate,
    wishes: Wishes,
    machine: Machine | None,
    version: str | None,
    device: Device,
) -> tuple[Load, Mapping[str, Any]]:
    """Return the load with the settings that the machine's server gives it, and changed wishes."""
    trained = candidate.architecture.context_length
    found = effective(
        wishes, trained_context=trained, machine=machine, device=device, version=version
    )
    settings = machine.server.settings if machine else ServerSettings()
    load = Load(
        shape=candidate.architecture,
        weights=spread(candidate),
        run=found.run,
        device=device,
        overhead_bytes=settings.gpu_overhead_bytes or 0,
        fit_target_bytes=settings.fit_target_bytes,
        spread=bool(settings.sched_spread),
    )
    return load, found.requested


def _candidate(model: str) -> Candidate:
    if not model.endswith(".gguf"):
        return Catalog.bundled().find(model)
    path = Path(model)
    try:
        with path.open("rb") as stream:
            found = header.read(stream)
        size = path.stat().st_size
    except OSError as e:
        raise InvalidInput(f"{model}: {e.strerror}") from e
    shape = facts.architecture(found.metadata, found.tensors)
    parameters = facts.parameters(found.tensors)
    return Candidate(
        tags=(path.name,),
        model=path.name,
        family=path.stem,
        kind="chat",
        architecture=shape,
        quantization=facts.quantization(found.metadata),
        format="gguf",
        parameters_total=parameters,
        parameters_active=parameters,
        file_bytes=size,
        bytes_basis="header",
        weights=facts.weights(found.tensors, shape.block_count),
    )


def _quantized(candidate: Candidate, wish: str | None) -> Candidate:
    """Return the same model at another quantization: the library's file of it, or by rule."""
    if wish is None:
        return candidate
    name = wish.upper()
    if name not in BITS_PER_WEIGHT:
        known = ", ".join(BITS_PER_WEIGHT)
        raise InvalidInput(f"--quantize {wish}: unknown quantization", hint=f"one of: {known}")
    if twin := _twin(candidate, name):
        return twin
    size = at_quantization(candidate, name)
    return replace(
        candidate,
        quantization=name,
        file_bytes=size,
        tensor_bytes=size,
        bytes_basis="layout",
        digest=None,
        weights=None,
    )


def _twin(candidate: Candidate, quantization: str) -> Candidate | None:
    """Return the library's file of the same model at that quantization: the most alike."""
    if candidate.quantization == quantization:
        return candidate

    def unlike(other: Candidate) -> tuple[bool, int, str]:
        shared = max(_shared_start(*pair) for pair in product(candidate.tags, other.tags))
        return other.kind != candidate.kind, -shared, other.tag

    wanted = (candidate.model, quantization, candidate.format)
    files = Catalog.bundled().candidates
    return min(
        (c for c in files if (c.model, c.quantization, c.format) == wanted),
        key=unlike,
        default=None,
    )


def _shared_start(one: str, other: str) -> int:
    """Return how many characters two tags begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
