"""How many bytes an import takes on the server's disk. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.errors import InvalidInput
from orchestrator.gguf.hub_config import architecture_of
from orchestrator.gguf.layout import laid_out
from orchestrator.model import BITS_PER_WEIGHT

_BITS_F16 = 16
_SMALL_BYTES = 1024**2  # template, licence, manifests, and the last block of each file


class Made(NamedTuple):
    """Bytes of what the server makes: the unquantized model, and the quantized (None: not one)."""

    f16_bytes: int
    quantized_bytes: int | None


def import_peak_bytes(source_bytes: int, f16_bytes: int, quantized_bytes: int | None) -> int:
    """Return what the server's store must have free for a whole import.

    The sources stay until the end. A conversion writes a temporary file and copies it to a blob;
    so does a quantization, beside the unquantized model. Polled on 0.9.3 at 128 MB of sources: the
    peaks are source + 2 x F16 (384 MB), and source + F16 + 2 x quantized, to 0.1 %.
    """
    making_bytes = max(f16_bytes, 2 * (quantized_bytes or 0))
    return source_bytes + f16_bytes + making_bytes + _SMALL_BYTES


def made_bytes(
    config: Mapping[str, Any], source_bytes: int, beside_bytes: int, quantization: str
) -> Made:
    """Return what becomes of safetensors with that config.json, quantized to `quantization`.

    `source_bytes` are those of the weights, `beside_bytes` those of the tokenizer's files, which
    bound what the header takes. An architecture of unknown layout is taken for one of F16.
    """
    try:
        shape = architecture_of(config)
        f16, wished = (laid_out(shape, each).total_bytes for each in ("F16", quantization))
    except InvalidInput:
        f16 = source_bytes
        wished = int(f16 * BITS_PER_WEIGHT[quantization] / _BITS_F16)
    if quantization == "F16":
        return Made(f16 + beside_bytes, None)
    return Made(f16 + beside_bytes, wished + beside_bytes)
