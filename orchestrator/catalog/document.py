"""The catalogue document: JSON rows to candidates."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from orchestrator.model import DEFAULT_RULE, Architecture, Basis, Candidate

Row = dict[str, Any]

_ARCHITECTURE = tuple(f.name for f in fields(Architecture))
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def rows(document: Row) -> Iterator[tuple[Row, Row]]:
    """Yield each file of the document as (model row, variant row)."""
    for model in document["models"]:
        for variant in model["variants"]:
            yield model, variant


def tags_of(model: Row, variant: Row) -> tuple[str, ...]:
    """Return the full names of a file: a tag without a name in front has its model's name."""
    name = model["name"].rpartition(":")[0]
    # A list, since a generator costs twice as much, 1,286 times before each plan.
    return tuple([tag if ":" in tag else f"{name}:{tag}" for tag in variant["tags"]])


def candidates(document: Row) -> Iterator[Candidate]:
    """Yield one candidate per file, in the order of the document, which must have been checked."""
    for model in document["models"]:
        yield from _candidates_of(model)


def _candidates_of(model: Row) -> Iterator[Candidate]:
    shapes = _Shapes(model["architecture"])
    common: Row = {
        "model": model["name"],
        "family": model.get("family") or model["name"].rpartition(":")[0],
        "parameters_total": model["parameters_total"],
        "parameters_active": model.get("parameters_active") or model["parameters_total"],
        "license": model.get("license", ""),
        "commercial_use": not model.get("no_commercial_use", False),
        "released": model.get("released", ""),
        "thinking": model.get("thinking", False),
        "min_server_version": model.get("min_server_version"),
    }
    kind, rule = model.get("kind", "chat"), model.get("layout", DEFAULT_RULE)
    for variant in model["variants"]:
        get = variant.get
        size, basis = file_bytes(variant)
        yield Candidate(
            tags=tags_of(model, variant),
            architecture=shapes[get("context_length"), get("fused_attention", False)],
            kind=get("kind", kind),
            quantization=variant["quant"],
            format=get("format", "gguf"),
            file_bytes=size,
            bytes_basis=basis,
            tensor_bytes=get("tensor_bytes"),
            digest=get("digest"),
            rule=get("layout", rule),
            **common,
        )


class _Shapes(dict[tuple[int | None, bool], Architecture]):
    """The shapes of one model's files, by what a file says of its own: window, fused attention."""

    def __init__(self, numbers: Row) -> None:
        self._numbers = {name: numbers[name] for name in _ARCHITECTURE if name in numbers}

    def __missing__(self, own: tuple[int | None, bool]) -> Architecture:
        window, fused = own
        numbers = self._numbers | ({"context_length": window} if window else {})
        self[own] = found = Architecture(**numbers | ({"fused_attention": True} if fused else {}))
        return found


def file_bytes(variant: Row) -> tuple[int, Basis]:
    """Return the size of the download in bytes and its basis.

    `bytes` is the model layer; `bytes_total`, where only that was published, the whole manifest
    (some kB more: template and licence); else the rounded decimal `size` of the library's page.
    """
    stated = variant.get("bytes") or variant.get("bytes_total")
    if stated:
        return stated, "exact"
    size = variant["size"]
    return round(float(size[:-2]) * _UNITS[size[-2:]]), "listed"
