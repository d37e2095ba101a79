"""A machine and a doctor's checks as pages: one line a thing, what cannot be used dimmed."""

import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from orchestrator.era import ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.machine import Accelerator, Disk, Host, Machine, Memory, ServerState
from orchestrator.units import gb, gib

_LABEL = 10
_LEAST_WIDTH, _MOST_WIDTH = 60, 110
# What a reader decides by; `deploy probe --json` has them all.
_WIDE_ISA = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")
_COLOURS = {"fail": "red", "warn": "yellow", "pass": "green"}


@dataclass(frozen=True, slots=True)
class Line:
    """A label, and a text that is wrapped; dim: it is there and of no use."""

    label: str
    text: str
    dim: bool = False


def machine(found: Machine) -> str:
    """Return the page of `deploy probe`."""
    return page(
        [
            Line("machine", found.name),
            *_host(found.host),
            *_memory(found.memory),
            *_disk(found.disk),
            *_cards(found),
            *_server(found.server),
            *[Line("loaded", f"{m.name}: {gib(m.bytes)}") for m in found.server.loaded],
            *_absent(found),
        ]
    )


def page(lines: Iterable[Line]) -> str:
    """Return the lines under each other, wrapped to the terminal."""
    width = _width()
    return "\n".join(_wrapped(line, width) for line in lines)


def checks(document: Mapping[str, Any]) -> str:
    """Return the page of `deploy doctor`: what fails first, each with its remedy."""
    lines, width = [], _width()
    alike: dict[tuple[str, str, str | None], list[str]] = {}
    for check in document["checks"]:
        key = (check["outcome"], check["detail"], check["remedy"])
        alike.setdefault(key, []).append(check["name"])
    for (outcome, detail, remedy), names in alike.items():
        said = _indented(f"{', '.join(names)}: {detail}", width, 6)
        lines.append(_coloured(f"{outcome.upper():<6}", outcome) + said)
        if remedy:
            lines.append(" " * 6 + "-> " + _indented(remedy, width, 9))
    counts = document["counts"]
    summary = f"{counts['fail']} failed, {counts['warn']} to look at, {counts['pass']} well"
    return "\n".join([*lines, "", summary])


def _width() -> int:
    return min(max(shutil.get_terminal_size((80, 24)).columns, _LEAST_WIDTH), _MOST_WIDTH)


def _wrapped(line: Line, width: int) -> str:
    text = f"{line.label:<{_LABEL}}" + _indented(line.text, width, _LABEL)
    return click.style(text, dim=True) if line.dim and _colours() else text


def _indented(text: str, width: int, indent: int) -> str:
    parts = textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(parts)


def _coloured(text: str, outcome: str) -> str:
    return click.style(text, fg=_COLOURS[outcome]) if _colours() else text


def _colours() -> bool:
    return not os.environ.get("NO_COLOR")  # https://no-color.org; click drops them off a terminal


def _host(host: Host) -> Iterator[Line]:
    cores = f"{host.physical_cores or '?'} cores, {host.logical_cores or '?'} threads"
    shown = [flag for flag in _WIDE_ISA if flag in host.isa]
    plain = "no AVX2" if host.arch in ("x86_64", "amd64") else host.arch
    yield Line("CPU", f"{host.cpu or host.arch}: {cores}; {' '.join(shown) or plain}")
    if host.told_threads:
        granted = f"a control group grants {(host.cpu_quota or 0) / 1000:g}"
        bound = granted if host.quota_binds else f"the server is scheduled on {host.threads}"
        told = f"tell it num_thread {host.told_threads}"
        yield Line("", f"{bound} of the box's {host.box_cores} cores: {told}")
    if host.container or host.virtualization:
        where = " in ".join(filter(None, (host.container, host.virtualization)))
        yield Line("", f"inside of {where}")
    if len(host.numa) > 1:
        yield Line("", f"{len(host.numa)} NUMA nodes: a model larger than one answers slower")


def _memory(memory: Memory) -> Iterator[Line]:
    text = f"{gib(memory.available_bytes)} of {gib(memory.total_bytes)} available"
    if memory.limit_bytes is not None:
        text += f"; a control group leaves {gib(memory.limit_bytes)}"
    if memory.bandwidth_bytes_per_s:
        noisy = " (noisy: something else runs)" if memory.bandwidth_noisy else ""
        text += f"; {gb(memory.bandwidth_bytes_per_s)}/s{noisy}"
    yield Line("memory", text)
    if memory.swap_total_bytes:
        yield Line("", f"{gib(memory.swap_total_bytes)} of swap, which never counts", dim=True)
    if memory.huge_pages_bytes:
        yield Line("", f"{gib(memory.huge_pages_bytes)} set aside as huge pages", dim=True)
    if memory.zfs_cache_bytes:
        cache = f"{gib(memory.zfs_cache_bytes)} more if ZFS gave its cache back, which Ollama"
        yield Line("", f"{cache} does not know", dim=True)


def _disk(disk: Disk) -> Iterator[Line]:
    free = "free space unknown" if disk.free_bytes is None else f"{gib(disk.free_bytes)} free"
    kind = ", ".join(filter(None, (disk.kind, disk.filesystem, "READ-ONLY" * bool(disk.read_only))))
    rate = f", reads {gb(disk.read_bytes_per_s)}/s" if disk.read_bytes_per_s else ""
    where = disk.model_store or "a place that cannot be seen"
    yield Line("disk", f"{free}{f' ({kind})' if kind else ''}{rate} at {where}")
    if disk.partial_bytes:
        yield Line("", f"{gib(disk.partial_bytes)} of interrupted downloads in it")
    for other in disk.others[:2]:
        room = gib(other.free_bytes or 0)
        yield Line(
            "", f"also {other.mount}: {room} free ({other.kind or 'kind unknown'})", dim=True
        )


def _cards(found: Machine) -> Iterator[Line]:
    """Yield a line for each card, the unusable ones last; cards that are all alike share one."""
    alike: dict[tuple[bool, str], list[int]] = {}
    for card in sorted(found.accelerators, key=lambda a: not a.usable):
        alike.setdefault((not card.usable, _card(card, found.server.pid)), []).append(card.index)
    for (unusable, text), indexes in alike.items():
        if len(indexes) > 1:
            yield Line("GPUs", f"{_spans(indexes)}: {len(indexes)} x {text}", dim=unusable)
        else:
            yield Line(f"GPU {indexes[0]}", text, dim=unusable)


def _spans(indexes: list[int]) -> str:
    """Return indexes as people write them: "0-4,6"."""
    parts: list[list[int]] = []
    for index in indexes:
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def _card(card: Accelerator, server_pid: int | None) -> str:
    facts = [f"{card.name}: {_card_memory(card)}"]
    if not card.usable:
        return f"{facts[0]}; UNUSABLE: {card.unusable_reason}"
    if card.virtual:
        facts.append("a share of a card (vGPU)")
    if card.compute_capability or card.gfx:
        facts.append(card.gfx or f"compute {card.compute_capability}")
    if card.driver:
        facts.append(f"driver {card.driver}")
    if card.bandwidth_bytes_per_s:
        facts.append(f"{card.bandwidth_bytes_per_s / 1e9:.0f} GB/s")
    facts += [
        f"pid {p.pid}{f' ({p.name})' if p.name else ''} holds {gib(p.bytes) if p.bytes else 'some'}"
        for p in card.processes
        if p.pid != server_pid
    ]
    return "; ".join(facts)


def _card_memory(card: Accelerator) -> str:
    total, free = card.memory_total_bytes, card.memory_free_bytes
    if card.unified_memory:
        return "shares the host's memory" + (f", up to {gib(total)} of it" if total else "")
    if total is None:
        return "memory unknown"
    return f"{'?' if free is None else gib(free, 1)} of {gib(total, 1)} free"


def _server(server: ServerState) -> Iterator[Line]:
    if server.pid is None and server.version is None:
        starts = "`deploy auto` starts one" if server.local else "that is another machine"
        yield Line("server", f"none answers at {server.host}: {starts}")
    else:
        yield Line("server", _answering(server))
        if server.settings_known is False:
            yield Line("", "its settings are hidden from this account: defaults are assumed")
        told = {
            name.upper(): value
            for name, value in (
                ("ollama_num_parallel", server.settings.num_parallel),
                ("ollama_context_length", server.settings.context_length),
                ("ollama_flash_attention", server.settings.flash_attention),
                ("ollama_kv_cache_type", server.settings.kv_cache_type),
                ("ollama_keep_alive", server.settings.keep_alive),
                ("cuda_visible_devices", server.settings.visible_devices),
            )
            if value is not None
        }
        if told:
            yield Line("", " ".join(f"{name}={_shown(value)}" for name, value in told.items()))
    for other in server.others:
        where = other.host or "an address that cannot be seen"
        yield Line("", f"another server: pid {other.pid} ({other.where}) at {where}")
    if server.orphans:
        pids = ", ".join(map(str, server.orphans))
        yield Line("", f"runners without a server hold memory: pid {pids}")


def _answering(server: ServerState) -> str:
    if server.version is None:
        held = f"pid {server.pid} (user {server.user or 'unknown'}) has {server.host}"
        return f"{held}, and does not answer as an Ollama server does"
    facts = [f"Ollama {server.version} at {server.host}"]
    try:
        facts[0] += f" (era {ServerVersion.parse(server.version).era.value})"
    except InvalidInput:
        facts[0] += " (a version of its own: planned as the newest)"
    if server.where:
        facts.append(server.where)
    if server.runtime:
        facts.append(f"{server.runtime} runtime")
    if server.user:
        facts.append(f"user {server.user}, pid {server.pid}")
    if not server.local:
        where = "NOT ON THIS MACHINE" if server.where else "ITS PROCESS CANNOT BE SEEN from here"
        facts.append(f"{where}: what stands above may not be its own")
    return "; ".join(facts)


def _shown(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value) or '""'


def _absent(found: Machine) -> Iterator[Line]:
    for each in found.absent:
        if each.present:
            yield Line(each.probe, each.reason)
    if nothing := [a.probe for a in found.absent if not a.present]:
        yield Line("none", ", ".join(nothing) + " (`--json` says why)", dim=True)
