"""How answers look to a person: plain tables, memory in GiB, downloads in GB."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from orchestrator.units import duration, gb, gib


def emit(document: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print the answer: the document, or the text made from it."""
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else text)


def table(rows: Iterable[Sequence[object]], heads: Sequence[str]) -> str:
    """Return aligned columns; numbers (and what ends in a unit) stand right."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        pairs = zip(row, widths, strict=True)
        return "  ".join(c.rjust(w) if _number(c) else c.ljust(w) for c, w in pairs).rstrip()

    return "\n".join([line(heads), *map(line, cells)])


def _number(cell: str) -> bool:
    return cell.removeprefix("about ")[:1].isdigit()


def plan(document: Mapping[str, Any], warnings: Iterable[str] = ()) -> str:
    """Return a plan: the pick, then what is larger and what it is short of."""
    budget = document["budget"]
    lines = [
        f"machine   {document['machine']['name']}",
        f"server    Ollama {document['server_version'] or 'of unknown version'}",
        f"budget    {gib(budget['bytes'])} ({budget['basis']})",
        "",
    ]
    chosen = document["chosen"]
    lines += [nothing_chosen()] if chosen is None else _chosen(chosen)
    lines += [f"warning   {w}" for w in warnings]
    if rejected := document["rejected"]:
        shown = _nearest(rejected)
        lines += ["", "not chosen:" if len(shown) == len(rejected) else "not chosen, nearest:"]
        rows = ([r["tag"], r["reason"], r["detail"]] for r in shown)
        lines.append(table(rows, ("tag", "reason", "detail")))
        if hidden := len(rejected) - len(shown):
            lines.append(f"and {hidden} more: --json lists all")
    return "\n".join(lines)


def nothing_chosen() -> str:
    """Return the line for a plan without a pick."""
    return "nothing fits"


def _chosen(chosen: Mapping[str, Any]) -> list[str]:
    where = f"{chosen['placement']}, {chosen['gpu_layers']} of {chosen['layers']} layers on GPU"
    return [
        f"chosen    {chosen['tag']}  ({chosen['estimate']['quantization']}, "
        f"{download(chosen['estimate'])} to download)",
        f"where     {'CPU' if chosen['placement'] == 'cpu' else where}",
        f"context   {chosen['context']} tokens x {chosen['parallel']} "
        f"slot{'s' if chosen['parallel'] != 1 else ''}",
        *memory_and_speed(chosen["estimate"]),
        f"why       {chosen['why']}",
    ]


_SHOWN = 8
_WORTH_SHOWING = ("memory", "speed", "speed_unknown", "disk", "context", "unavailable", "server")


def _nearest(rejected: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rejections next to the pick, one a model and reason: the finer files of a model
    fail for the same reason. --json has all.
    """
    if len(rejected) <= _SHOWN:
        return list(rejected)
    seen: set[tuple[str, str]] = set()
    shown: list[Mapping[str, Any]] = []
    for r in reversed(rejected):
        key = (r["tag"].partition("-")[0] if ":" in r["tag"] else r["tag"], r["reason"])
        if r["reason"] in _WORTH_SHOWING and key not in seen:
            seen.add(key)
            shown.insert(0, r)
        if len(shown) == _SHOWN:
            break
    return shown or list(rejected[-_SHOWN:])


def memory_and_speed(document: Mapping[str, Any]) -> list[str]:
    """Return the lines of an estimate that every screen shares."""
    memory, speed = document["memory"], document["speed"]
    lines = [
        f"memory    {gib(memory['total_bytes'])} = weights {gib(memory['weights_bytes'])}"
        f" + KV cache {gib(memory['kv_cache_bytes'])} + compute {gib(memory['compute_bytes'])}"
        + (f" + driver {gib(memory['overhead_bytes'])}" if memory["overhead_bytes"] else ""),
    ]
    lines += [f"          GPU {d['index']}: {gib(d['bytes'])}" for d in memory["devices"]]
    if memory["resident_bytes"] is not None:
        lines.append(f"          resident after a first prompt: {gib(memory['resident_bytes'])}")
    if speed:
        low, likely, high = speed["decode_tps"]
        lines.append(
            f"speed     about {likely:.1f} tokens/s decode ({low:.1f} to {high:.1f}); "
            f"basis: {speed['basis']}"
        )
    if seen := document["calibrated"]:
        lines.append(f"measured  {_calibrated(seen)}")
    return lines


def _calibrated(seen: Mapping[str, Any]) -> str:
    """Return what the estimate would be by what was measured, and by which runs."""
    figures = []
    if memory := seen["memory"]:
        resident = memory["resident_bytes"]
        of_it = "" if resident is None else f" (resident {gib(resident)})"
        figures.append(f"memory {gib(memory['total_bytes'])}{of_it}")
    if seen["decode_tps"]:
        low, likely, high = seen["decode_tps"]
        figures.append(f"about {likely:.1f} tokens/s decode ({low:.1f} to {high:.1f})")
    return f"{', '.join(figures) or 'nothing to go by'}; basis: {seen['basis']}"


def estimate(document: Mapping[str, Any]) -> str:
    """Return an estimate with its bases."""
    basis = document["memory"]["basis"]
    lines = [
        f"model     {document['model']}  ({document['quantization']}, "
        f"{download(document)} to download)",
        f"context   {document['context']} tokens x {document['parallel']} = "
        f"{document['context_total']}; KV cache {document['kv_cache_type']}, flash attention "
        f"{'on' if document['flash_attention'] else 'off'}",
        f"layers    {document['memory']['gpu_layers']} of {document['memory']['layers']} on GPU",
        *memory_and_speed(document),
        f"basis     weights: {basis['weights']}; KV cache: {basis['kv_cache']}; "
        f"compute: {basis['compute']}",
    ]
    return "\n".join(lines)


def download(estimate: Mapping[str, Any]) -> str:
    """Return the size of the download, which is known exactly only of a file that was seen."""
    seen = estimate["memory"]["basis"]["weights"] in ("exact", "header")
    return f"{'' if seen else 'about '}{gb(estimate['file_bytes'])}"


def deployment(document: Mapping[str, Any]) -> str:
    """Return a deployment in any state: what it is, promised against measured."""
    alias = document["alias"].removesuffix(":latest")
    lines = [
        f"model     {document['tag']}  ({document['quantization']}), from {document['source']}",
        f"serves    {alias} -> {document['model']} at {document['server_host']}"
        if document["state"] == "current"
        else f"state     {document['state']}: {document['model']} at {document['server_host']}",
        f"context   {document['context']} tokens x {document['parallel']}",
        *_measured(document),
    ]
    if document["verdict"]:
        lines.append(f"verdict   {document['verdict']['outcome']}{_notes(document)}")
    if document["gap_s"]:
        lines.append(f"gap       {duration(document['gap_s'])} in which nothing was in memory")
    lines += [f"differs   {said}" for said in document["differences"]]
    if left := document["rolled_back_from"]:
        lines.append(f"rollback  brought back {left['at']} in place of {left['model']}")
    if document["failure"]:
        lines.append(f"failure   {document['failure']}")
    return "\n".join(lines)


def _measured(document: Mapping[str, Any]) -> list[str]:
    planned, measured = document["planned"], document["measured"]
    if measured is None:
        return ["measured  nothing yet"]
    lines = []
    if planned["resident_bytes"] and measured["resident_bytes"]:
        lines.append(
            f"memory    promised {gib(planned['resident_bytes'])}, measured "
            f"{gib(measured['resident_bytes'])} ({_error(document, 'memory')})"
        )
    lines += [
        f"          GPU {d['index']}: measured {gib(d['bytes'] or 0)}" for d in measured["devices"]
    ]
    if measured["decode_tps"]:
        promised = f"promised about {planned['decode_tps']:.1f}, " if planned["decode_tps"] else ""
        lines.append(f"decode    {promised}measured {measured['decode_tps']:.1f} tokens/s")
    if measured["prefill_tps"]:
        lines.append(
            f"prefill   {measured['prefill_tps']:.1f} tokens/s; first token after "
            f"{duration(measured['ttft_s'] or 0)}; load {duration(measured['load_s'] or 0)}"
        )
    return lines


def verification(document: Mapping[str, Any]) -> str:
    """Return what a look at a deployment found, a line a check."""
    alias = document["alias"].removesuffix(":latest")
    lines = [f"model     {document['model']} as {alias} at {document['server_host']}"]
    lines += [f"{c['name']:<9} {c['outcome']:<10}  {c['detail']}" for c in document["checks"]]
    return "\n".join([*lines, f"verdict   {document['outcome']} at {document['verified_at']}"])


def _error(document: Mapping[str, Any], name: str) -> str:
    for check in document["verdict"]["checks"]:
        if check["name"] == name and check["error"] is not None:
            return f"error {100 * check['error']:+.1f} %"
    return "not graded"


def _notes(document: Mapping[str, Any]) -> str:
    notes = [f"{c['name']}: {c['detail']}" for c in document["verdict"]["checks"] if c["detail"]]
    return f" ({'; '.join(notes)})" if notes else ""
