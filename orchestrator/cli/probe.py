"""`deploy probe`."""

import os

import click

from orchestrator.cli.options import common, start_log
from orchestrator.cli.render import emit
from orchestrator.machine import Accelerator, Machine
from orchestrator.survey import look
from orchestrator.units import gib


@click.command()
@common
def probe(as_json: bool, verbose: bool, log_format: str | None) -> None:
    """Show the machine as the Ollama server may use it; never changes anything."""
    start_log(verbose=verbose, log_format=log_format)
    machine = look(os.environ).machine
    emit(machine.to_json(), _text(machine), as_json=as_json)


def _text(machine: Machine) -> str:
    host, memory, disk = machine.host, machine.memory, machine.disk
    cores = f"{host.physical_cores or '?'} cores, {host.logical_cores or '?'} threads"
    limit = f", limited to {gib(memory.limit_bytes)}" if memory.limit_bytes is not None else ""
    free = gib(disk.free_bytes) if disk.free_bytes is not None else "unknown"
    lines = [
        f"CPU       {host.cpu or host.arch}, {cores} ({', '.join(host.isa) or 'plain'})",
        f"memory    {gib(memory.available_bytes)} of {gib(memory.total_bytes)} available{limit}",
        f"disk      {free} free at {disk.model_store or 'an unknown place'}",
        *[_card(a) for a in machine.accelerators],
        *[f"no {a.probe:<7}{a.reason}" for a in machine.absent],
        _server(machine),
    ]
    lines += [f"loaded    {m.name}: {gib(m.bytes)}" for m in machine.server.loaded]
    return "\n".join(lines)


def _card(card: Accelerator) -> str:
    free = "?" if card.memory_free_bytes is None else gib(card.memory_free_bytes)
    total = "?" if card.memory_total_bytes is None else gib(card.memory_total_bytes)
    state = "" if card.usable else f"  UNUSABLE: {card.unusable_reason}"
    return f"GPU {card.index}     {card.name}, {free} of {total} free{state}"


def _server(machine: Machine) -> str:
    server = machine.server
    if server.pid is None and server.version is None:
        return f"server    none at {server.host}"
    kind = f", {server.runtime}" if server.runtime else ""
    return f"server    Ollama {server.version} at {server.host}{kind}"
