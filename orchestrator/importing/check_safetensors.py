"""Whether files of safetensors are whole and importable, found out before the server reads them.

The server of 0.9.3 trusts a header: one that lies makes it allocate what the header says, and ends
its process. A missing shard goes unnoticed until the model is loaded.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import PurePosixPath
from typing import Any

from orchestrator.errors import InvalidInput, SourceCorrupt
from orchestrator.gguf.hub_config import IMPORTED_TYPES
from orchestrator.importing import LocalFile
from orchestrator.importing.check_documents import document, size_of
from orchestrator.importing.check_tokenizer import check_tokenizer
from orchestrator.source.safetensors import read_header

_WEIGHTS, _CONFIG, _INDEX = ".safetensors", "config.json", "model.safetensors.index.json"
_ELEMENT_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_SHARD = re.compile(r".*-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
_AGAIN = "fetch the file again, or name another repository"
_GGUF = "name a GGUF repository of the model: such weights cannot be imported"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What the files are: the class that config.json names, and all tensors together."""

    class_name: str
    dtypes: tuple[str, ...]
    tensor_count: int
    elements: int
    tensor_bytes: int
    weight_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Span:
    """A tensor of a file: `begin` and `end` count from the end of the header."""

    file: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def check(files: Sequence[LocalFile]) -> Checked:
    """Return what the files of a repository are, all of which were looked into.

    Raises SourceCorrupt: damaged, cut or incomplete, which another download may mend.
    InvalidInput: whole, and nothing that a server imports.
    """
    named = {file.name: file for file in files}
    weights = [file for file in files if _is_weights(file.name)]
    if not weights:
        raise InvalidInput(
            "there are no safetensors among the files", hint="name another repository"
        )
    class_name = _class_name(named.get(_CONFIG))
    check_tokenizer(named)
    spans = [span for file in weights for span in _spans(file)]
    _check_names(spans)
    _check_shards(named.get(_INDEX), [file.name for file in weights], spans)
    return Checked(
        class_name=class_name,
        dtypes=tuple(sorted({span.dtype for span in spans})),
        tensor_count=len(spans),
        elements=sum(prod(span.shape) for span in spans),
        tensor_bytes=sum(span.end - span.begin for span in spans),
        weight_files=tuple(file.name for file in weights),
    )


def _is_weights(name: str) -> bool:
    """The server reads those beside config.json alone."""
    return name.endswith(_WEIGHTS) and len(PurePosixPath(name).parts) == 1


def _class_name(file: LocalFile | None) -> str:
    """Return the class by which a server decides how to read the weights."""
    if file is None:
        raise InvalidInput(f"there is no {_CONFIG} among the files", hint="name another repository")
    config = document(file)
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method") if isinstance(quantized, Mapping) else None
        kind = f" as {method!s:.40}" if method else ""
        raise InvalidInput(f"{_CONFIG} says that the weights are quantized{kind}", hint=_GGUF)
    classes = config.get("architectures")
    first = classes[0] if isinstance(classes, list) and classes else None
    if not isinstance(first, str) or not first:
        raise InvalidInput(f"{_CONFIG} names no architecture", hint="name another repository")
    return first


def _spans(file: LocalFile) -> list[_Span]:
    """Return the tensors of a file, which fill it from the header's end to its own."""
    size = size_of(file)
    try:
        with file.path.open("rb") as stream:
            listed = list(read_header(stream, size))
            stream.seek(0)
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        _check_metadata(header.get("__metadata__", {}))
        spans = [_span(file.name, each.name, header[each.name]) for each in listed]
    except (OSError, ValueError) as e:
        raise SourceCorrupt(f"{file.name} is no whole safetensors file: {e}", hint=_AGAIN) from e
    _check_types(file.name, spans)
    _check_data(file.name, spans, size - 8 - length)
    return spans


def _check_metadata(found: object) -> None:
    """Texts by name; the server takes an entry that has a tensor's keys for a tensor."""
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError("its __metadata__ are no texts")
    if {"dtype", "shape", "data_offsets"} & {key.lower() for key in found}:
        raise ValueError("its __metadata__ look like a tensor")


def _span(file: str, name: str, entry: Mapping[str, Any]) -> _Span:
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name[:80]} has a place or a shape of no whole numbers")
    if not isinstance(entry["dtype"], str):
        raise ValueError(f"tensor {name[:80]} has no element type")  # noqa: TRY004 - of the file
    return _Span(file, name, entry["dtype"], tuple(shape), *offsets)


def _are_counts(found: object) -> bool:
    """JSON's true is an int of Python."""
    return isinstance(found, list) and all(type(n) is int and n >= 0 for n in found)


def _check_types(file: str, spans: Sequence[_Span]) -> None:
    odd = Counter(span.dtype for span in spans if span.dtype not in IMPORTED_TYPES)
    if odd:
        (kind, count), *_ = odd.most_common()
        raise InvalidInput(
            f"{file}: {count} of {len(spans)} tensors are {kind[:40]}; a server imports "
            f"{', '.join(IMPORTED_TYPES)}",
            hint=_GGUF,
        )
    if empty := [span.name for span in spans if not prod(span.shape) or not span.shape]:
        raise InvalidInput(f"{file}: tensor {empty[0][:80]} has no elements", hint=_GGUF)


def _check_data(file: str, spans: Sequence[_Span], data_bytes: int) -> None:
    """Hold each tensor to its size, and all of them to fill the data without a gap."""
    for span in spans:
        needed_bytes = prod(span.shape) * _ELEMENT_BYTES[span.dtype]
        if span.end - span.begin != needed_bytes:
            raise SourceCorrupt(
                f"{file}: tensor {span.name[:80]} has {span.end - span.begin} bytes, of its shape "
                f"are {needed_bytes}",
                hint=_AGAIN,
            )
    edges = [(0, 0), *sorted((span.begin, span.end) for span in spans), (data_bytes, data_bytes)]
    for (_, end), (begin, _) in pairwise(edges):
        if end != begin:
            raise SourceCorrupt(
                f"{file}: its tensors leave a gap or overlap, at byte {end} and {begin} of "
                f"{data_bytes}",
                hint=_AGAIN,
            )


def _check_names(spans: Sequence[_Span]) -> None:
    held: dict[str, str] = {}
    for span in spans:
        other = held.setdefault(span.name, span.file)
        if other != span.file:
            raise SourceCorrupt(
                f"tensor {span.name[:80]} is in {other} and in {span.file}", hint=_AGAIN
            )


def _check_shards(index: LocalFile | None, files: Sequence[str], spans: Sequence[_Span]) -> None:
    """Hold the shards to the index, and without one to the count that their names give."""
    if missing := sorted(set(_announced(files)) - set(files)):
        raise _missing(missing, len(missing) + len(files))
    if index is None:
        if len(files) > 1 and not all(_SHARD.fullmatch(file) for file in files):
            raise InvalidInput(
                f"there are {len(files)} safetensors files and no {_INDEX}: which of them are the "
                "model is unknown",
                hint="name another repository",
            )
        return
    places = document(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(f, str) for f in places.values()):
        raise SourceCorrupt(f"{index.name} has no weight_map", hint=_AGAIN)
    if missing := sorted(set(places.values()) - set(files)):
        raise _missing(missing, len(set(places.values())))
    _compare(index.name, places, {span.name: span.file for span in spans})


def _announced(files: Sequence[str]) -> Iterator[str]:
    """Yield the names of all shards that the names of those speak of."""
    for file in files:
        if found := _SHARD.fullmatch(file):
            stem = file[: found.start("number")]
            for number in range(1, min(int(found["count"]), 9999) + 1):
                yield f"{stem}{number:05}-of-{found['count']}{_WEIGHTS}"


def _missing(names: Sequence[str], count: int) -> SourceCorrupt:
    return SourceCorrupt(
        f"{len(names)} of {count} weight files are missing, first {names[0][:200]}", hint=_AGAIN
    )


def _compare(index: str, places: Mapping[str, str], held: Mapping[str, str]) -> None:
    for name in [*places, *held]:
        said, true = places.get(name), held.get(name)
        if said != true:
            raise SourceCorrupt(
                f"tensor {name[:80]}: {index} says {_place(said)}, the files say {_place(true)}",
                hint=_AGAIN,
            )


def _place(file: str | None) -> str:
    return "nothing of it" if file is None else file[:200]
