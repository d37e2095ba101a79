"""Repositories of safetensors: what is downloaded, and what Ollama's import makes of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, BinaryIO

from orchestrator.errors import InvalidInput, SourceCorrupt
from orchestrator.gguf.facts import active_parameters, parameters
from orchestrator.gguf.hub_config import (
    IMPORTED_QUANTIZATIONS,
    IMPORTED_TYPES,
    architecture_of,
    class_of,
    imported_by,
)
from orchestrator.gguf.layout import laid_out, layout
from orchestrator.gguf.types import Tensor
from orchestrator.model import BITS_PER_WEIGHT, Candidate
from orchestrator.source.described import Described
from orchestrator.source.hub import PREFIX, Repository
from orchestrator.units import gb, gib

_CONFIG, _INDEX = "config.json", "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
_BESIDE = (_CONFIG, "tokenizer_config.json", *_TOKENIZERS)
# What the import reads where it is there, and what tells the family of a chat.
_FURTHER = (_INDEX, "generation_config.json", "chat_template.jinja", "chat_template.json")
_OUTPUT = "lm_head.weight"
_MOST_HEADER_BYTES = 8 * 1024**2
_FIRST_BYTES = 128 * 1024
_UNLIKE = 0.005
_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class _Weights:
    """The weight files of a repository, what is in them, and their elements where all are seen."""

    files: tuple[str, ...]
    names: frozenset[str]
    types: frozenset[str]
    elements: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Importable:
    """A repository as Ollama's import would make a model of it: what that is, and which files.

    `class_name` decides how it is read. `obstacle` says why no server imports it as it is, None:
    nothing speaks against it.
    """

    candidate: Candidate
    class_name: str
    files: tuple[str, ...]
    obstacle: str | None
    notes: tuple[str, ...]


def imported(found: Repository, quantization: str | None) -> Described:
    """Return the model as Ollama's import would make it at a quantization, Q4_K_M by default.

    Raises InvalidInput: no model that is known. SourceCorrupt: files are missing. PullFailed.
    """
    made = importable(found, quantization)
    return Described(
        candidate=made.candidate,
        kind="hub",
        where=found.where,
        transferred_bytes=found.remote.transferred_bytes,
        notes=made.notes,
        imported={"class": made.class_name, "by": imported_by(made.class_name)},
    )


def importable(found: Repository, quantization: str | None) -> Importable:
    """Return what the import of a repository takes and makes. Raises what `imported` raises."""
    wished = (quantization or IMPORTED_QUANTIZATIONS[0]).upper()
    if wished not in BITS_PER_WEIGHT:
        raise InvalidInput(
            f"{quantization!r} is no quantization that is known",
            hint=f"Ollama's import makes {', '.join(IMPORTED_QUANTIZATIONS)}",
        )
    config = _config(found)
    stored = _weights(found)
    candidate = _candidate(found, config, stored, wished)
    obstacles = tuple(_obstacles(found, config, stored, wished))
    further = tuple(name for name in _FURTHER if name in found.sizes)
    return Importable(
        candidate=candidate,
        class_name=class_of(config),
        files=(*_beside(found), *further, *stored.files),
        obstacle=obstacles[0] if obstacles else None,
        notes=(*_notes(config, candidate), *obstacles, *_doubts(stored, candidate)),
    )


def _config(found: Repository) -> Mapping[str, Any]:
    if _CONFIG not in found.sizes:
        raise InvalidInput(
            f"{found.name} has neither a GGUF nor a {_CONFIG}: it has {_contents(found)}",
            hint="name a repository of a model",
        )
    document = found.document(_CONFIG)
    if not isinstance(document, Mapping):
        raise InvalidInput(f"{found.name}/{_CONFIG}: no object")
    return document


def _candidate(
    found: Repository, config: Mapping[str, Any], stored: _Weights, quantization: str
) -> Candidate:
    try:
        shape = architecture_of(config, own_output=_OUTPUT in stored.names)
    except InvalidInput as e:
        raise InvalidInput(f"{found.name}: {e.what}", hint=e.hint) from e
    table = layout(shape, quantization)
    weights = laid_out(shape, quantization)
    return Candidate(
        tags=(f"{PREFIX}{found.name}",),
        model=f"{PREFIX}{found.name}",
        family=found.name.rpartition("/")[2],
        kind="chat",
        architecture=shape,
        quantization=quantization,
        format="gguf",
        parameters_total=parameters(table),
        parameters_active=active_parameters(shape, table),
        file_bytes=sum(found.sizes[f] for f in (*stored.files, *_beside(found))),
        bytes_basis="exact",
        tensor_bytes=weights.total_bytes,
        weights=replace(weights, basis="layout"),
    )


def _beside(found: Repository) -> tuple[str, ...]:
    """Return what the import needs beside the weights."""
    return tuple(name for name in _BESIDE if name in found.sizes)


def _weights(found: Repository) -> _Weights:
    if _INDEX not in found.sizes:
        return _without_index(found)
    index = found.document(_INDEX)
    places = index.get("weight_map") if isinstance(index, Mapping) else None
    named = isinstance(places, Mapping) and all(isinstance(f, str) for f in places.values())
    if not places or not named:
        raise SourceCorrupt(f"{found.name}/{_INDEX} has no weight_map", hint="name another")
    files = tuple(sorted(set(places.values())))
    if missing := [name for name in files if name not in found.sizes]:
        raise SourceCorrupt(
            f"{found.name}: {len(missing)} of {len(files)} weight files are missing, first "
            f"{missing[0][:200]}",
            hint="name another repository",
        )
    first = _table(found, files[0])
    return _Weights(
        files=files,
        names=frozenset(places),
        types=frozenset(t.type for t in first),
        elements=None,
    )


def _without_index(found: Repository) -> _Weights:
    files = tuple(n for n in found.sizes if n.endswith(".safetensors") and "/" not in n)
    if len(files) != 1:
        raise InvalidInput(
            f"{found.name} has {len(files)} safetensors files and no {_INDEX}: it has "
            f"{_contents(found)}",
            hint="name a repository of a whole model, as safetensors or as GGUF",
        )
    table = _table(found, files[0])
    return _Weights(
        files=files,
        names=frozenset(t.name for t in table),
        types=frozenset(t.type for t in table),
        elements=sum(prod(t.shape) for t in table),
    )


def _table(found: Repository, name: str) -> tuple[Tensor, ...]:
    shown, size = f"{found.name}/{name}", found.sizes[name]
    with found.remote.file(found.path(name), shown, size, first_bytes=_FIRST_BYTES) as stream:
        try:
            return tuple(read_header(stream, size))
        except ValueError as e:
            raise InvalidInput(
                f"{shown}: no safetensors file ({e})", hint="name another repository"
            ) from e


def read_header(stream: BinaryIO, size_bytes: int) -> Iterator[Tensor]:
    """Yield the tensors of a safetensors file of that size: names, element types, shapes.

    Raises ValueError: it is none, or cut.
    """
    length = int.from_bytes(stream.read(8), "little")
    if not 2 <= length <= min(_MOST_HEADER_BYTES, size_bytes - 8):
        raise ValueError(f"a header of {length} bytes in a file of {size_bytes}")
    try:
        document = json.loads(stream.read(length))
    except RecursionError as e:
        raise ValueError("nested beyond reason") from e
    if not isinstance(document, dict):
        raise ValueError("no object")  # noqa: TRY004 - the file is wrong, not the program
    for name, entry in document.items():
        if name == "__metadata__":
            continue
        try:
            shape, end = tuple(int(n) for n in entry["shape"]), int(entry["data_offsets"][1])
            kind = str(entry["dtype"])
        except (KeyError, TypeError, IndexError, OverflowError) as e:
            raise ValueError(f"tensor {name[:80]} is not described") from e
        if any(n < 0 for n in shape) or end + 8 + length > size_bytes:
            raise ValueError(f"tensor {name[:80]} ends at byte {end + 8 + length} of {size_bytes}")
        yield Tensor(name=name, type=kind, shape=shape)


def _contents(found: Repository) -> str:
    names = sorted(found.sizes)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(name[:80] for name in names[:_SHOWN]) or "no file") + more


def _notes(config: Mapping[str, Any], candidate: Candidate) -> Iterator[str]:
    """Yield what a person should know before the download."""
    name = class_of(config)
    by = imported_by(name)
    yield (
        f"{gb(candidate.file_bytes)} of safetensors become {gib(candidate.tensor_bytes or 0)} at "
        f"{candidate.quantization}: predicted by the layout"
    )
    if by is None:
        yield f"no version of Ollama imports {name}: take a GGUF repository, or convert it first"
    else:
        yield f"Ollama imports {name}: {by}"


def _obstacles(
    found: Repository, config: Mapping[str, Any], stored: _Weights, quantization: str
) -> Iterator[str]:
    """Yield why the import would fail, whatever version the server has."""
    if quantization not in IMPORTED_QUANTIZATIONS:
        yield f"Ollama's import makes {', '.join(IMPORTED_QUANTIZATIONS)}, not {quantization}"
    odd = sorted(stored.types - set(IMPORTED_TYPES))
    if odd or config.get("quantization_config"):
        yield f"its weights are quantized already ({', '.join(odd) or 'quantization_config'})"
    if not any(tokenizer in found.sizes for tokenizer in _TOKENIZERS):
        yield f"it has neither {' nor '.join(_TOKENIZERS)}: Ollama refuses it"


def _doubts(stored: _Weights, candidate: Candidate) -> Iterator[str]:
    count = candidate.parameters_total
    if stored.elements and abs(count / stored.elements - 1) > _UNLIKE:
        yield f"its files hold {stored.elements} elements, the layout {count}"
