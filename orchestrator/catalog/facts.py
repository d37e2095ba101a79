"""What is known of a model beyond what a plan needs, and from where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from orchestrator.catalog.document import Row, file_bytes, tags_of
from orchestrator.model import DEFAULT_RULE


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerBuild:
    """What a tag named before it moved: the exact bytes, and the day on which it was seen."""

    tag: str
    seen: str
    bytes: int
    digest: str
    source: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """The provenance of one file and its model.

    `size_listed` and `context_listed` are what the library's page shows ("4.7GB", "128K");
    `header_bytes` is the file without its tensors; `shape` holds the numbers of the model that
    Architecture has no field for. Absent facts are None or empty.
    """

    id: str | None = None
    size_listed: str | None = None
    context_listed: str | None = None
    modality: str | None = None
    released: str | None = None
    base_model: str | None = None
    hf_repos: tuple[str, ...] = ()
    gguf_repos: tuple[str, ...] = ()
    kv_bytes_per_token: int | None = None
    header_bytes: int | None = None
    tensor_count: int | None = None
    tensor_layout: str | None = None
    bytes_as_of: str | None = None
    sources: tuple[str, ...] = ()
    min_server_version_source: str | None = None
    moved: tuple[FormerBuild, ...] = ()
    shape: Mapping[str, Any] = field(default_factory=dict)


def model_facts(document: Row, model: Row, variant: Row) -> ModelFacts:
    """Return the facts of one file of the document; its own sources come after its model's."""
    table = document.get("sources", [])
    cited = [*model.get("sources", []), *([variant["source"]] if "source" in variant else [])]
    why = model.get("min_server_version_source")
    tensor_bytes = variant.get("tensor_bytes")
    return ModelFacts(
        id=variant.get("id"),
        size_listed=variant.get("size"),
        context_listed=variant.get("context_listed") or model.get("context_listed"),
        modality=model.get("modality"),
        released=model.get("released"),
        base_model=model.get("base_model"),
        hf_repos=tuple(model.get("hf_repos", ())),
        gguf_repos=tuple(model.get("gguf_repos", ())),
        kv_bytes_per_token=model.get("kv_bytes_per_token"),
        header_bytes=None if tensor_bytes is None else file_bytes(variant)[0] - tensor_bytes,
        tensor_count=variant.get("tensor_count"),
        tensor_layout=variant.get("layout", model.get("layout", DEFAULT_RULE)),
        bytes_as_of=variant.get("as_of"),
        sources=tuple(table[i] for i in dict.fromkeys(cited)),
        min_server_version_source=None if why is None else table[why],
        moved=_former_builds(document, tags_of(model, variant)),
        shape=MappingProxyType(model.get("shape", {})),
    )


def _former_builds(document: Row, tags: tuple[str, ...]) -> tuple[FormerBuild, ...]:
    table = document.get("sources", [])
    return tuple(
        FormerBuild(
            tag=row["tag"],
            seen=row["seen"],
            bytes=row["bytes"],
            digest=row["digest"],
            source=table[row["source"]] if "source" in row else None,
        )
        for row in document.get("former", [])
        if row["tag"] in tags
    )
