"""How the bytes of a file are spread over embedding, layers and output when no header was read."""

from orchestrator.model import BITS_PER_WEIGHT, Architecture, Candidate, Weights

# llama.cpp keeps output.weight (or the tied token_embd) at Q6_K in every mixture below Q6_K, and
# the token embedding at the base type (llama-quant.cpp).
_BASE_BITS = {
    "Q2_K": 2.625, "Q3_K_S": 3.4375, "Q3_K_M": 3.4375, "Q3_K_L": 3.4375, "Q4_0": 4.5,
    "Q4_1": 5.0, "Q4_K_S": 4.5, "Q4_K_M": 4.5, "Q5_0": 5.5, "Q5_1": 6.0, "Q5_K_S": 5.5,
    "Q5_K_M": 5.5, "Q6_K": 6.5625, "Q8_0": 8.5,
}  # fmt: skip
_OUTPUT_BITS = 6.5625
_HEADER_BYTES_PER_TOKEN = 40  # tokenizer entries; seen: 39 (qwen), 41 (deepseek), 61 (llama 3)


def spread(candidate: Candidate) -> Weights:
    """Return the weights of a catalogue entry: the total as known, the split by rule."""
    if candidate.weights:
        return candidate.weights
    shape = candidate.architecture
    total = candidate.tensor_bytes
    if total is None:
        total = max(0, candidate.file_bytes - shape.vocab_size * _HEADER_BYTES_PER_TOKEN)
    return split(shape, candidate.quantization, total, candidate)


def split(shape: Architecture, quantization: str, total: int, candidate: Candidate) -> Weights:
    """Spread `total` bytes evenly over the layers beside embedding and output matrix."""
    cells = shape.vocab_size * shape.embedding_length
    base = _BASE_BITS.get(quantization, BITS_PER_WEIGHT.get(quantization, 16.0))
    output_bits = max(base, _OUTPUT_BITS)
    embedding = int(cells * (output_bits if shape.tied_embeddings else base) / 8)
    output = 4 * shape.embedding_length
    output += 0 if shape.tied_embeddings else int(cells * output_bits / 8)
    embedding = min(embedding, total)
    output = min(output, total - embedding)
    each = (total - embedding - output) // shape.block_count
    return Weights(
        total_bytes=total,
        embedding_bytes=embedding,
        output_bytes=output,
        per_layer_bytes=(each,) * shape.block_count,
        basis=candidate.bytes_basis,
    )


def at_quantization(candidate: Candidate, quantization: str) -> int:
    """Return the bytes of a candidate's tensors laid out at another quantization (by rule)."""
    bits = BITS_PER_WEIGHT[quantization]
    return int(candidate.parameters_total * bits / 8)
