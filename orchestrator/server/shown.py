"""What /api/show says about an installed model, read into our words."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

from orchestrator.gguf.facts import architecture, parameters, weights
from orchestrator.gguf.types import Tensor
from orchestrator.model import Architecture, Weights

_FROM = re.compile(r"^FROM (.*sha256-([0-9a-f]{64}))\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """A name in the server's store; `digest` is its manifest's, without prefix."""

    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What /api/ps says of a loaded model: up to 0.10 its own estimate, never a measurement."""

    size_bytes: int
    vram_bytes: int
    expires_at: str = ""

    @property
    def pinned(self) -> bool:
        """Whether the server keeps it for good: keep_alive -1 shows as a date far ahead."""
        return self.expires_at[:4] > f"{date.today().year + 1}"  # noqa: DTZ011 - years apart

    @property
    def placement(self) -> str:
        """cpu, gpu or split, as the server counts it."""
        if not self.vram_bytes:
            return "cpu"
        return "gpu" if self.vram_bytes >= self.size_bytes else "split"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The true header, as the server read it; `blob` is the digest of the weights' file.

    `blob_path` is where the server has that file, on its own machine. `capabilities` are what the
    server says the model can do ("completion", "tools", "thinking"…); None: too old to say.
    """

    architecture: Architecture
    weights: Weights
    quantization: str
    parameters_total: int
    blob: str | None
    blob_path: str | None = None
    capabilities: frozenset[str] | None = None

    @classmethod
    def from_json(cls, answer: dict[str, Any]) -> Self:
        """Read an answer of /api/show. Raises InvalidInput: a header without the needed keys."""
        tensors = [
            Tensor(name=t["name"], type=t["type"], shape=tuple(t["shape"]))
            for t in answer.get("tensors") or []
        ]
        shape = architecture(answer.get("model_info") or {}, tensors)
        blob = _FROM.search(answer.get("modelfile") or "")
        can = answer.get("capabilities")
        return cls(
            architecture=shape,
            weights=weights(tensors, shape.block_count),
            quantization=(answer.get("details") or {}).get("quantization_level") or "unknown",
            parameters_total=parameters(tensors),
            blob=f"sha256:{blob[2]}" if blob else None,
            blob_path=blob[1].strip() if blob else None,
            capabilities=None if can is None else frozenset(map(str, can)),
        )
