"""What /api/show says about an installed model, read into our words."""

import re
from dataclasses import dataclass
from typing import Any, Self

from orchestrator.gguf.facts import architecture, weights
from orchestrator.gguf.types import Tensor
from orchestrator.model import Architecture, Weights

_FROM = re.compile(r"^FROM .*sha256-([0-9a-f]{64})\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """A name in the server's store; `digest` is its manifest's, without prefix."""

    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The true header, as the server read it; `blob` is the digest of the weights' file."""

    architecture: Architecture
    weights: Weights
    quantization: str
    capabilities: tuple[str, ...]
    parameters: str
    blob: str | None

    @classmethod
    def from_json(cls, answer: dict[str, Any]) -> Self:
        """Read an answer of /api/show. Raises InvalidInput: a header without the needed keys."""
        tensors = [
            Tensor(name=t["name"], type=t["type"], shape=tuple(t["shape"]))
            for t in answer.get("tensors") or []
        ]
        shape = architecture(answer.get("model_info") or {}, tensors)
        blob = _FROM.search(answer.get("modelfile") or "")
        return cls(
            architecture=shape,
            weights=weights(tensors, shape.block_count),
            quantization=(answer.get("details") or {}).get("quantization_level") or "unknown",
            capabilities=tuple(answer.get("capabilities") or ()),
            parameters=answer.get("parameters") or "",
            blob=f"sha256:{blob[1]}" if blob else None,
        )
