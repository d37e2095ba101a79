"""What a catalogue document must be; a profile may name one of its own."""

import json
import re
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_args

from orchestrator.catalog.document import rows, tags_of
from orchestrator.errors import InvalidInput
from orchestrator.gguf.deviations import DEVIATIONS
from orchestrator.model import BITS_PER_WEIGHT, DEFAULT_RULE, Architecture, Kind, ModelRef

T = TypeVar("T")

_JSON_NAMES: dict[type, str] = {
    dict: "an object", list: "an array", str: "a string", int: "an integer", bool: "true or false",
}  # fmt: skip

_SIZE = re.compile(r"\d+(\.\d+)?[KMGT]B")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MODEL_TEXTS = (
    "family", "license", "released", "modality", "min_server_version", "base_model",
    "context_listed",
)  # fmt: skip
_MAY_BE_ZERO = "feed_forward_length"  # a mixture of experts without a dense layer
_HINT = "the format is that of the bundled orchestrator/catalog/models.json"


def check(document: object) -> None:
    """Accept a catalogue document, or raise InvalidInput with the JSON path of what is wrong."""
    top = _typed(document, dict, "$")
    if _typed(top.get("schema"), int, "$.schema") != 1:
        raise _invalid("$.schema", f"is {top['schema']}; this version reads schema 1")
    sources = _texts(top.get("sources", []), "$.sources")
    models = _typed(top.get("models"), list, "$.models")
    if not models:
        raise _invalid("$.models", "is empty")
    for i, model in enumerate(models):
        _check_model(_typed(model, dict, f"$.models[{i}]"), len(sources), f"$.models[{i}]")
    for i, row in enumerate(_typed(top.get("former", []), list, "$.former")):
        _check_former(_typed(row, dict, f"$.former[{i}]"), len(sources), f"$.former[{i}]")
    _check_unique(top)


def _invalid(path: str, what: str) -> InvalidInput:
    return InvalidInput(f"the model catalogue is invalid: {path} {what}", hint=_HINT, path=path)


def _typed(value: object, kind: type[T], path: str) -> T:
    # bool is an int to Python, never to a person who counts layers.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        have = "is missing" if value is None else f"is {json.dumps(value)[:40]}"
        raise _invalid(path, f"{have}; it must be {_JSON_NAMES[kind]}")
    return value


def _texts(value: object, path: str) -> list[str]:
    return [_typed(text, str, f"{path}[{i}]") for i, text in enumerate(_typed(value, list, path))]


def _count(value: object, path: str, least: int = 1) -> int:
    number = _typed(value, int, path)
    if number < least:
        raise _invalid(path, f"is {number}; it must be {least} or more")
    return number


def _check_model(model: dict[str, Any], sources: int, path: str) -> None:
    _check_name(_typed(model.get("name"), str, f"{path}.name"), f"{path}.name")
    _check_architecture(model.get("architecture"), f"{path}.architecture")
    _count(model.get("parameters_total"), f"{path}.parameters_total")
    for key in ("parameters_active", "kv_bytes_per_token"):
        if key in model:
            _count(model[key], f"{path}.{key}")
    for key in _MODEL_TEXTS:
        _typed(model.get(key, ""), str, f"{path}.{key}")
    for key in ("thinking", "no_commercial_use"):
        _typed(model.get(key, False), bool, f"{path}.{key}")
    for key in ("hf_repos", "gguf_repos"):
        _texts(model.get(key, []), f"{path}.{key}")
    _typed(model.get("shape", {}), dict, f"{path}.shape")
    _check_kind(model, path)
    _check_layout(model, path)
    for i, cited in enumerate(_typed(model.get("sources", []), list, f"{path}.sources")):
        _check_source(cited, sources, f"{path}.sources[{i}]")
    _check_source(
        model.get("min_server_version_source"), sources, f"{path}.min_server_version_source"
    )
    files = _typed(model.get("variants"), list, f"{path}.variants")
    for i, variant in enumerate(files):
        here = f"{path}.variants[{i}]"
        _check_variant(_typed(variant, dict, here), sources, here)


def _check_name(name: str, path: str) -> None:
    try:
        ModelRef.parse(name)
    except ValueError as e:
        raise _invalid(path, f"{e}") from e
    if ":" not in name:
        raise _invalid(path, f"is {name!r}; it must be NAME:TAG")


def _check_kind(row: dict[str, Any], path: str) -> None:
    if row.get("kind", "chat") not in get_args(Kind):
        raise _invalid(f"{path}.kind", f"is {row['kind']!r}; it must be one of {get_args(Kind)}")


def _check_layout(row: dict[str, Any], path: str) -> None:
    if _typed(row.get("layout", DEFAULT_RULE), str, f"{path}.layout") not in DEVIATIONS:
        raise _invalid(f"{path}.layout", f"is {row['layout']!r}; known: {', '.join(DEVIATIONS)}")


def _check_source(cited: object, sources: int, path: str) -> None:
    if cited is not None and _count(cited, path, least=0) >= sources:
        raise _invalid(path, f"is {cited}; the table of sources has {sources} entries")


def _check_architecture(value: object, path: str) -> None:
    numbers = _typed(value, dict, path)
    for field in fields(Architecture):
        here, found = f"{path}.{field.name}", numbers.get(field.name, field.default)
        if field.name == "name":
            _typed(None if found is MISSING else found, str, here)
        elif field.type is bool:
            _typed(found, bool, here)
        elif found is not None:
            required = field.default is MISSING and field.name != _MAY_BE_ZERO
            _count(None if found is MISSING else found, here, least=int(required))


def _check_variant(variant: dict[str, Any], sources: int, path: str) -> None:
    if not _texts(variant.get("tags"), f"{path}.tags"):
        raise _invalid(f"{path}.tags", "is empty")
    quantization = _typed(variant.get("quant"), str, f"{path}.quant")
    written = _typed(variant.get("format", "gguf"), str, f"{path}.format")
    if written == "gguf" and quantization not in BITS_PER_WEIGHT:
        raise _invalid(f"{path}.quant", f"is {quantization!r}; known: {', '.join(BITS_PER_WEIGHT)}")
    for key in ("bytes", "bytes_total", "tensor_bytes", "tensor_count", "context_length"):
        if key in variant:
            _count(variant[key], f"{path}.{key}")
    size = _typed(variant.get("size", ""), str, f"{path}.size")
    if not (
        _SIZE.fullmatch(size) or (not size and ("bytes" in variant or "bytes_total" in variant))
    ):
        raise _invalid(f"{path}.size", f"is {size!r}; give `bytes`, or a size such as 4.7GB")
    digest = _typed(variant.get("digest", "sha256:" + "0" * 64), str, f"{path}.digest")
    if not _DIGEST.fullmatch(digest):
        raise _invalid(f"{path}.digest", f"is {digest!r}; it must be sha256: and 64 hex digits")
    for key in ("id", "as_of", "context_listed"):
        _typed(variant.get(key, ""), str, f"{path}.{key}")
    _typed(variant.get("fused_attention", False), bool, f"{path}.fused_attention")
    _check_source(variant.get("source"), sources, f"{path}.source")
    _check_kind(variant, path)
    _check_layout(variant, path)


def _check_former(row: dict[str, Any], sources: int, path: str) -> None:
    for key in ("tag", "seen", "digest"):
        _typed(row.get(key), str, f"{path}.{key}")
    _count(row.get("bytes"), f"{path}.bytes")
    _check_source(row.get("source"), sources, f"{path}.source")


def _check_unique(document: dict[str, Any]) -> None:
    seen: set[str] = set()
    for model, variant in rows(document):
        for tag in tags_of(model, variant):
            _check_name(tag, f"tag {tag!r} of {model['name']}")
            key = str(ModelRef.parse(tag.lower()))  # the server compares names without case
            if key in seen:
                raise _invalid(f"tag {tag!r} of {model['name']}", "is named twice")
            seen.add(key)
