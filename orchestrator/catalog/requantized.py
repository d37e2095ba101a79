"""One model at another quantization, as `--quantize` asks for it."""

from dataclasses import replace
from itertools import product, takewhile

from orchestrator.catalog.lookup import Catalog
from orchestrator.errors import InvalidInput
from orchestrator.gguf.layout import at_quantization
from orchestrator.model import BITS_PER_WEIGHT, Candidate


def requantized(catalog: Catalog, candidate: Candidate, wish: str) -> Candidate:
    """Return the same model at another quantization: the library's file of it, or by rule.

    Case does not matter. Raises InvalidInput: ggml has no such quantization.
    """
    name = wish.upper()
    if name not in BITS_PER_WEIGHT:
        known = ", ".join(BITS_PER_WEIGHT)
        raise InvalidInput(f"--quantize {wish}: unknown quantization", hint=f"one of: {known}")
    if twin := _twin(catalog, candidate, name):
        return twin
    size = at_quantization(candidate, name)
    return replace(
        candidate,
        quantization=name,
        file_bytes=size,
        tensor_bytes=size,
        bytes_basis="layout",
        digest=None,
        weights=None,
    )


def _twin(catalog: Catalog, candidate: Candidate, quantization: str) -> Candidate | None:
    """Return the library's file of the same model at that quantization: the most alike."""
    if candidate.quantization == quantization:
        return candidate

    def unlike(other: Candidate) -> tuple[bool, int, str]:
        shared = max(_shared_start(*pair) for pair in product(candidate.tags, other.tags))
        return other.kind != candidate.kind, -shared, other.tag

    wanted = (candidate.model, quantization, candidate.format)
    return min(
        (c for c in catalog.candidates if (c.model, c.quantization, c.format) == wanted),
        key=unlike,
        default=None,
    )


def _shared_start(one: str, other: str) -> int:
    """Return how many characters two tags begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
