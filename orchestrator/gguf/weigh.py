"""The weights of a candidate: what its header says, or its layout, held against its known size."""

from dataclasses import replace

from orchestrator.gguf.layout import laid_out
from orchestrator.gguf.mixture import QUANTIZATIONS
from orchestrator.model import Architecture, Candidate, Weights

_HEADER_BYTES_PER_TOKEN = 40  # the tokenizer; seen: 39 in Qwen 2 and 3, 41 in DeepSeek V3
_LONGER_TOKENS = {128256: 61, 248320: 48}  # vocabularies of Llama 3 and Qwen 3.5
_MOST_PER_TOKEN, _MOST_BESIDE = 128, 2**20


def weights_of(candidate: Candidate) -> Weights:
    """Return the bytes of every part of a candidate.

    The basis is "header" for a file that was read, "exact" where the layout makes the file's known
    size, "layout" where only a rounded size is known and agrees, "listed" where the known size is
    another: then the parts keep their proportions and sum to it.
    Raises InvalidInput: an architecture or rule that is not known, by name.
    """
    if candidate.weights:
        return candidate.weights
    known = candidate.quantization in QUANTIZATIONS
    quantization = candidate.quantization if known else "F16"
    found = laid_out(candidate.architecture, quantization, candidate.rule)
    if known and candidate.bytes_basis == "layout":
        return found
    if known and _agrees(found.total_bytes, candidate):
        return found if candidate.bytes_basis == "listed" else replace(found, basis="exact")
    total = candidate.tensor_bytes
    if total is None:
        total = max(0, candidate.file_bytes - header_bytes(candidate.architecture))
    return scaled(found, total)


def file_bytes_of(candidate: Candidate) -> int:
    """Return what is downloaded: laid out where the library lists two rounded digits only."""
    if candidate.bytes_basis != "listed" or candidate.quantization not in QUANTIZATIONS:
        return candidate.file_bytes
    found = weights_of(candidate)
    if found.basis != "layout":
        return candidate.file_bytes
    return found.total_bytes + header_bytes(candidate.architecture)


def header_bytes(shape: Architecture) -> int:
    """Return about how long the header of such a file is: nearly all of it is the tokenizer."""
    return shape.vocab_size * _LONGER_TOKENS.get(shape.vocab_size, _HEADER_BYTES_PER_TOKEN)


def _agrees(total: int, candidate: Candidate) -> bool:
    """Say whether a file of this size can hold tensors of `total` bytes."""
    if candidate.tensor_bytes is not None:
        return candidate.tensor_bytes == total
    left, shape = candidate.file_bytes - total, candidate.architecture
    if candidate.bytes_basis == "listed":
        apart = abs(left - header_bytes(shape))
        return apart <= _rounding(candidate.file_bytes) + _MOST_BESIDE
    return 0 < left <= shape.vocab_size * _MOST_PER_TOKEN + _MOST_BESIDE


def _rounding(listed: int) -> float:
    """Return how far a listed size may be off: shown are 832MB, 4.7GB, 404GB and 1.3TB."""
    whole = next((step for step in (10**12, 10**9, 10**6) if listed >= step), 1000)
    return whole / 20 if listed < 10 * whole else whole / 2


def scaled(weights: Weights, total: int) -> Weights:
    """Return weights of the same proportions that sum to `total`."""
    factor = total / max(1, weights.total_bytes)
    layers = tuple(int(size * factor) for size in weights.per_layer_bytes)
    embedding = int(weights.embedding_bytes * factor)
    vision, draft = int(weights.vision_bytes * factor), int(weights.draft_bytes * factor)
    return Weights(
        total_bytes=total,
        embedding_bytes=embedding,
        output_bytes=total - sum(layers) - embedding - vision - draft,
        per_layer_bytes=layers,
        basis="listed",
        expert_layer_bytes=tuple(int(size * factor) for size in weights.expert_layer_bytes),
        largest_expert_bytes=int(weights.largest_expert_bytes * factor),
        vision_bytes=vision,
        draft_bytes=draft,
    )
