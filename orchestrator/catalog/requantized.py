"""One model at another quantization, as `--quantize` asks for it."""

from dataclasses import replace
from itertools import product, takewhile

from orchestrator.catalog.lookup import Catalog
from orchestrator.errors import InvalidInput
from orchestrator.gguf.layout import laid_out
from orchestrator.gguf.weigh import header_bytes
from orchestrator.model import BITS_PER_WEIGHT, DEFAULT_RULE, Candidate


def requantized(catalog: Catalog, candidate: Candidate, wish: str) -> Candidate:
    """Return the same model at another quantization: the library's file of it, or its layout.

    Case does not matter. Raises InvalidInput: ggml has no such quantization, or the tensors of the
    architecture are not known.
    """
    name = wish.upper()
    if name not in BITS_PER_WEIGHT:
        known = ", ".join(BITS_PER_WEIGHT)
        raise InvalidInput(f"--quantize {wish}: unknown quantization", hint=f"one of: {known}")
    if twin := _twin(catalog, candidate, name):
        return twin
    tensors = laid_out(candidate.architecture, name).total_bytes
    return replace(
        candidate,
        quantization=name,
        file_bytes=tensors + _header_bytes(catalog, candidate),
        tensor_bytes=tensors,
        bytes_basis="layout",
        digest=None,
        weights=None,
        rule=DEFAULT_RULE,
    )


def _header_bytes(catalog: Catalog, candidate: Candidate) -> int:
    """Return the header's length: that of a file of the same model, since it is the tokenizer."""
    if candidate.weights:
        return candidate.file_bytes - candidate.weights.total_bytes
    known = (
        c.file_bytes - c.tensor_bytes
        for c in (candidate, *catalog.candidates)
        if c.model == candidate.model and c.tensor_bytes and c.bytes_basis == "exact"
    )
    return next(known, header_bytes(candidate.architecture))


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
