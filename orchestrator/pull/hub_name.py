"""The name on the server of a model that has none in Ollama's library."""

import re

from orchestrator.catalog import Catalog
from orchestrator.errors import UnknownModel
from orchestrator.model import ModelRef

_LONGEST = 80
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_.-]+")
_NAMESPACE = "hub/"


def plain_name(title: str, quantization: str, catalog: Catalog) -> str:
    """Return a name that the server takes: `Qwen2.5-0.5B-Instruct`, Q4_K_M to
    `qwen2.5-0.5b-instruct:q4_K_M`.

    One that the catalogue has as well gets `hub/` in front: it is not the library's file.
    """
    name = _NOT_IN_NAMES.sub("-", title.lower()).removesuffix("-gguf").strip("-.")[:_LONGEST]
    found = f"{name or 'model'}:{_tag(quantization)}"
    try:
        catalog.find(found)
    except UnknownModel:
        return str(ModelRef.parse(found))
    return _NAMESPACE + found


def _tag(quantization: str) -> str:
    """Return a quantization as the library's tags write it: `q4_K_M`, `latest` for none."""
    kind, mark, rest = quantization.partition("_")
    return f"{kind.lower()}{mark}{rest.upper()}" or "latest"
