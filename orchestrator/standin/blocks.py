"""ggml's weight blocks in numpy: random codes under finite scales, by the gigabyte.

Every type has zero mean: a bias would add up over a row, and drown what a token says of the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

# A prime, so that no two rows of a matrix begin at the same block before all others have.
_BLOCKS = 32_749
_FLOATS_A_BLOCK = 16
_FLOATS = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recipe:
    """How a block is filled (ggml-common.h): random bytes, over which this is written.

    `unit` is the deviation of the values when d is 1; `scales` the places of f16 numbers and how
    many times d they are, `fixed` the places of constant bytes. `alternate`: uniform codes lie
    half a step off zero, so d changes its sign from block to block.
    """

    size: int
    unit: float
    scales: tuple[tuple[int, float], ...] = ((0, 1.0),)
    fixed: tuple[int, tuple[int, ...]] = (0, ())
    alternate: bool = False


# Deviation of uniform codes of so many bits.
_CODES = {2: 1.118, 3: 2.291, 4: 4.610, 5: 9.233, 6: 18.473, 8: 73.90}
# Scales within a block are small, so that d is no subnormal number: some processors take those
# slowly. Eight 6-bit scales and eight minimums, all 2, in ggml's packing.
_TWOS = (2,) * 8 + (0x22,) * 4
_RECIPES = {
    "Q4_0": _Recipe(size=18, unit=_CODES[4], alternate=True),
    "Q5_0": _Recipe(size=22, unit=_CODES[5], alternate=True),
    "Q8_0": _Recipe(size=34, unit=_CODES[8], alternate=True),
    "Q4_1": _Recipe(size=20, unit=_CODES[4], scales=((0, 1.0), (2, -7.5))),
    "Q5_1": _Recipe(size=24, unit=_CODES[5], scales=((0, 1.0), (2, -15.5))),
    # 2 d q - 3 d
    "Q2_K": _Recipe(
        size=84, unit=2 * _CODES[2], scales=((80, 1.0), (82, 1.0)), fixed=(0, (0x32,) * 16)
    ),
    # Sixteen 6-bit scales, in turn 8 and -8.
    "Q3_K": _Recipe(
        size=110,
        unit=8 * _CODES[3],
        scales=((108, 1.0),),
        fixed=(96, (0x88,) * 8 + (0xAA, 0x55) * 2),
    ),
    "Q4_K": _Recipe(size=144, unit=2 * _CODES[4], scales=((0, 1.0), (2, 7.5)), fixed=(4, _TWOS)),
    "Q5_K": _Recipe(size=176, unit=2 * _CODES[5], scales=((0, 1.0), (2, 15.5)), fixed=(4, _TWOS)),
    "Q6_K": _Recipe(
        size=210, unit=2 * _CODES[6], scales=((208, 1.0),), fixed=(192, (2, 256 - 2) * 8)
    ),
}
TYPES = frozenset(_RECIPES) | frozenset(_FLOATS)
"""The types that can be written: those of every quantization of the library."""


def blocks(kind: str, deviation: float) -> "Bytes":
    """Return some megabytes of random blocks of a type, as bytes.

    The values have zero mean; their deviation is the wished one up to a factor of 1.5, for d is a
    power of two: then d and its multiples are exact in f16.
    """
    import numpy as np

    rng = np.random.default_rng(1)
    if kind in _FLOATS:
        values = rng.standard_normal(_BLOCKS * _FLOATS_A_BLOCK, np.float32) * np.float32(deviation)
        return _floats(kind, values)
    recipe = _RECIPES[kind]
    filled = rng.integers(0, 256, (_BLOCKS, recipe.size), np.uint8)
    at, constant = recipe.fixed
    filled[:, at : at + len(constant)] = constant
    d = 2.0 ** round(np.log2(deviation / recipe.unit))
    signs = np.where(np.arange(_BLOCKS) % 2, -d, d) if recipe.alternate else np.full(_BLOCKS, d)
    for place, times in recipe.scales:
        numbers = (signs * times).astype(np.float16)[:, None]
        filled[:, place : place + 2] = numbers.view(np.uint8)
    return filled.reshape(-1)


def _floats(kind: str, values: "npt.NDArray[np.float32]") -> "Bytes":
    import numpy as np

    if kind == "F16":
        return values.astype(np.float16).view(np.uint8)
    if kind == "BF16":  # the upper half of an f32
        return np.ascontiguousarray(values.view(np.uint16)[1::2]).view(np.uint8)
    return values.view(np.uint8)


class Tape:
    """An endless tape of blocks, over and over the same; one a type and deviation.

    What is read begins where the last reading ended, so no two tensors are alike.
    """

    def __init__(self, kind: str, deviation: float) -> None:
        self._blocks = blocks(kind, deviation).data.cast("B")
        self._at = 0

    def read(self, size_bytes: int) -> Iterator[memoryview]:
        """Yield the next bytes, in parts of some megabytes that are not copied."""
        left = size_bytes
        while left:
            part = self._blocks[self._at : self._at + left]
            self._at = (self._at + len(part)) % len(self._blocks)
            left -= len(part)
            yield part
