"""How machines side by side and models side by side look to a person."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cli.render import download
from orchestrator.units import gib

_NONE = "-"


def compare(document: Mapping[str, Any]) -> str:
    """Return a column a machine: what it would hold, and what the next larger is short of."""
    files = [each["file"] for each in document["plans"]]
    heads = [Path(file).name for file in files]
    if len(set(heads)) < len(set(files)):
        heads = files
    columns = [_column(h, each) for h, each in zip(heads, document["plans"], strict=True)]
    names = [name for name, _ in columns[0]]
    rows = [[name, *(column[i][1] for column in columns)] for i, name in enumerate(names)]
    return f"profile {document['profile']}\n\n" + _left(rows)


def _column(head: str, compared: Mapping[str, Any]) -> list[tuple[str, str]]:
    plan, larger = compared["plan"], compared["next_larger"]
    return [
        ("file", head),
        ("machine", plan["machine"]["name"]),
        ("server", f"Ollama {plan['server_version'] or 'of unknown version'}"),
        ("budget", gib(plan["budget"]["bytes"])),
        *_pick(plan["chosen"]),
        ("next larger", larger["tag"] if larger else _NONE),
        ("short of", _short(larger) if larger else _NONE),
    ]


def _pick(chosen: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if chosen is None:
        names = ("download", "where", "context", "memory", "speed")
        return [("chosen", "nothing fits"), *((name, _NONE) for name in names)]
    found = chosen["estimate"]
    return [
        ("chosen", chosen["tag"]),
        ("download", f"{download(found)}, {found['quantization']}"),
        ("where", _where(chosen)),
        ("context", f"{chosen['context']} x {chosen['parallel']}"),
        ("memory", gib(found["memory"]["total_bytes"])),
        ("speed", _speed(found)),
    ]


def _where(placed: Mapping[str, Any]) -> str:
    if placed["placement"] == "cpu":
        return "CPU"
    if placed["placement"] == "split":
        return f"split, {placed['gpu_layers']} of {placed['layers']} layers on GPU"
    cards = len(placed["devices"])
    return "GPU" if cards == 1 else f"{cards} GPUs"


def _speed(estimate: Mapping[str, Any]) -> str:
    speed = estimate["speed"]
    return f"about {speed['decode_tps'][1]:.1f} tokens/s" if speed else "unknown"


def _short(rejection: Mapping[str, Any]) -> str:
    short = rejection["short_by_bytes"]
    return f"{gib(short)} of {rejection['reason']}" if short else rejection["detail"]


def together(document: Mapping[str, Any]) -> str:
    """Return what each model gets in the order of loading, and which find no place."""
    most, missing = document["max_loaded_models"], document["missing"]
    count = len(document["loaded"]) + len(missing)
    lines = [
        f"machine   {document['machine']['name']}",
        f"server    Ollama {document['server_version'] or 'of unknown version'}; keeps "
        f"{most['allowed']} models loaded ({most['basis']})",
        f"answer    {'yes' if document['holds'] else 'no'}: "
        f"{len(document['loaded'])} of {count} are loaded at once; {document['order']}",
        "",
    ]
    if document["loaded"]:
        heads = ["tag", "where", "context", "on GPUs", "on the host", "left", "speed"]
        lines.append(_left([heads, *map(_row, document["loaded"])]))
    lines += [f"missing   {r['tag']}: {r['detail']}" for r in missing]
    return "\n".join(lines)


def _row(loaded: Mapping[str, Any]) -> list[str]:
    cards = [f"{d['index']}: {gib(d['bytes'])}" for d in loaded["devices"]]
    left = [f"{d['index']}: {gib(d['bytes'])}" for d in loaded["left"]["devices"]]
    return [
        loaded["tag"],
        _where(loaded),
        f"{loaded['context']} x {loaded['parallel']}",
        ", ".join(cards) or _NONE,
        gib(loaded["host_bytes"]),
        ", ".join([*left, f"host: {gib(loaded['left']['host_bytes'])}"]),
        _speed(loaded["estimate"]),
    ]


def _left(rows: Sequence[Sequence[str]]) -> str:
    """Return columns that all stand left: each holds facts of several kinds."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )
