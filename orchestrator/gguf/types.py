"""ggml tensor types: how many bytes a row of elements takes."""

from dataclasses import dataclass
from math import prod

from orchestrator.errors import InvalidInput

# id in the file -> (name, elements a block, bytes a block); ggml.h and ggml-common.h.
_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
_BY_NAME = {name: (block, size) for name, block, size in _TYPES.values()}
_ALIGNMENT = 32  # general.alignment's default, at which every tensor of a file begins

# general.file_type -> the name that Ollama and llama.cpp show (llama.h, enum llama_ftype).
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """One entry of the tensor table; `shape` in ggml's order (columns first)."""

    name: str
    type: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's data. Raises InvalidInput: a type that ggml does not have."""
        if self.type not in _BY_NAME:
            raise InvalidInput(f"tensor {self.name}: unknown type {self.type}")
        block, block_bytes = _BY_NAME[self.type]
        return prod(self.shape) // block * block_bytes


def block_elements(name: str) -> int:
    """Return how many elements of a row one block of this type packs together."""
    return _BY_NAME[name][0]


def stored_bytes(name: str, elements: int) -> int:
    """Return the bytes that a tensor takes in a file: up to where the next one may begin."""
    block, block_bytes = _BY_NAME[name]
    return -(-(elements // block * block_bytes) // _ALIGNMENT) * _ALIGNMENT


def type_name(number: int) -> str:
    """Return the name of a type id; unknown ones keep their number ("type 99")."""
    return _TYPES[number][0] if number in _TYPES else f"type {number}"
