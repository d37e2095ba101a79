"""ggml's weight blocks in numpy: random ones by the gigabyte, and exact rows where they matter.

Every kind of noise has zero mean: a bias would add up over a row and drown the text.
"""

from functools import cache

import gguf
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

BLOCK = {"F16": (1, 2), "F32": (1, 4), "Q4_0": (32, 18), "Q8_0": (32, 34)} | {
    "Q4_K": (256, 144),
    "Q6_K": (256, 210),
}
"""Elements and bytes of a block."""

# A prime, so that two rows of one matrix never start at the same block of the repeated slab.
_SLAB_BLOCKS = 65_521
# 6-bit scales and minimums all 32, in ggml's packing: value = 32 d (q - 7.5) when dmin = 7.5 d.
_Q4_K_SCALES = np.array([0xA0] * 8 + [0] * 4, np.uint8)
# The deviation of a block with d = 1: uniform codes times the constant sub-scales used here.
_UNIT = {"F16": 1.0, "Q4_0": 4.61, "Q8_0": 73.9, "Q4_K": 32 * 4.61, "Q6_K": 8 * 18.5}


def row_bytes(kind: str, columns: int) -> int:
    """Return the bytes of one row. Raises ValueError: `columns` is no multiple of the block."""
    elements, size = BLOCK[kind]
    if columns % elements:
        raise ValueError(f"{columns} columns are no multiple of {elements}, the block of {kind}")
    return columns // elements * size


def noise(kind: str, rows: int, columns: int, deviation: float) -> Bytes:
    """Return a random matrix as bytes (rows, bytes of a row)."""
    width = row_bytes(kind, columns)
    elements, size = BLOCK[kind]
    slab = _slab(kind, deviation)
    return np.resize(slab, (rows * columns // elements, size)).reshape(rows, width)


def mute(kind: str, matrix: Bytes) -> None:
    """Set the scales of all blocks to 0 in place: random codes that multiply to nothing."""
    blocks = matrix.reshape(-1, BLOCK[kind][1])
    at = {"F16": slice(None), "Q6_K": slice(208, 210), "Q4_K": slice(0, 4)}
    blocks[:, at.get(kind, slice(0, 2))] = 0


def encode(kind: str, values: Floats) -> Bytes:
    """Return the rows quantized. K-quants with one scale a block: coarse, but unbiased."""
    rows, columns = values.shape
    if kind == "F16":
        raw = values.astype(np.float16).view(np.uint8)
    elif kind in {"Q4_K", "Q6_K"}:
        blocks = values.reshape(-1, 256)
        raw = (_encode_q4_k if kind == "Q4_K" else _encode_q6_k)(blocks)
    else:
        raw = gguf.quantize(values, gguf.GGMLQuantizationType[kind])
    return raw.reshape(rows, row_bytes(kind, columns))


@cache
def _slab(kind: str, deviation: float) -> Bytes:
    rng = np.random.default_rng(1)
    if kind == "F16":
        values = rng.standard_normal((_SLAB_BLOCKS * 16, 1), np.float32) * deviation
        return values.astype(np.float16).view(np.uint8)
    size = BLOCK[kind][1]
    slab = np.frombuffer(rng.bytes(_SLAB_BLOCKS * size), np.uint8).reshape(-1, size).copy()
    _set_scales(kind, slab, deviation / _UNIT[kind])
    return slab


def _set_scales(kind: str, slab: Bytes, d: float) -> None:
    signs = np.where(np.arange(len(slab)) % 2, -d, d)
    if kind == "Q4_K":
        slab[:, 0:4] = np.array([d, 7.5 * d], np.float16).view(np.uint8)
        slab[:, 4:16] = _Q4_K_SCALES
    elif kind == "Q6_K":
        slab[:, 192:208] = np.array([8, -8] * 8, np.int8).view(np.uint8)
        slab[:, 208:210] = np.array([d], np.float16).view(np.uint8)
    else:
        slab[:, 0:2] = signs.astype(np.float16)[:, None].view(np.uint8)


def _encode_q4_k(blocks: Floats) -> Bytes:
    d = (np.abs(blocks).max(axis=1) / (7.5 * 32)).astype(np.float16)[:, None]
    step = np.maximum(d.astype(np.float32) * 32, np.float32(1e-12))
    codes = np.clip(np.rint(blocks / step + 7.5), 0, 15).astype(np.uint8).reshape(-1, 4, 2, 32)
    nibbles = (codes[:, :, 0] | codes[:, :, 1] << 4).reshape(-1, 128)
    scales = np.tile(_Q4_K_SCALES, (len(blocks), 1))
    pair = np.concatenate([d, (d * np.float16(7.5)).astype(np.float16)], axis=1)
    return np.concatenate([pair.view(np.uint8), scales, nibbles], axis=1)


def _encode_q6_k(blocks: Floats) -> Bytes:
    d = (np.abs(blocks).max(axis=1) / (31 * 8)).astype(np.float16)[:, None]
    step = np.maximum(d.astype(np.float32) * 8, np.float32(1e-12))
    codes = np.clip(np.rint(blocks / step) + 32, 0, 63).astype(np.uint8).reshape(-1, 2, 4, 32)
    a, b, c, e = (codes[:, :, n] for n in range(4))
    low = np.concatenate([a & 15 | c << 4, b & 15 | e << 4], axis=2).reshape(-1, 128)
    high = (a >> 4 | b >> 4 << 2 | c >> 4 << 4 | e >> 4 << 6).reshape(-1, 64)
    scales = np.full((len(blocks), 16), 8, np.uint8)
    return np.concatenate([low, high, scales, d.view(np.uint8)], axis=1)
