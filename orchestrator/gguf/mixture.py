"""Which type each tensor gets in a mixture such as Q4_K_M (llama.cpp, src/llama-quant.cpp)."""

from typing import NamedTuple

from orchestrator.errors import InvalidInput
from orchestrator.gguf.deviations import Deviation
from orchestrator.gguf.tensors import Slot
from orchestrator.gguf.types import block_elements
from orchestrator.model import Architecture

# The type of every matrix that no rule below makes finer.
_BASE = {
    "F32": "F32", "F16": "F16", "BF16": "BF16", "Q8_0": "Q8_0", "Q6_K": "Q6_K", "Q5_K_M": "Q5_K",
    "Q5_K_S": "Q5_K", "Q5_1": "Q5_1", "Q5_0": "Q5_0", "Q4_K_M": "Q4_K", "Q4_K_S": "Q4_K",
    "Q4_1": "Q4_1", "Q4_0": "Q4_0", "Q3_K_L": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_S": "Q3_K",
    "Q2_K": "Q2_K",
}  # fmt: skip
QUANTIZATIONS = frozenset(_BASE)
"""The mixtures that are known: whatever the library's GGUF tags carry."""
_FLOATS = ("F32", "F16", "BF16")
# attn_output and ffn_down in every layer, attn_qkv where it does not count as attn_v.
_FINER = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}
_FUSED = {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}
# Small or sensitive matrices: the converter writes them in F32, the quantizer passes them by.
_KEPT = ("ffn_gate_inp", "ssm_conv1d")
# Where the columns do not fill the blocks of the type: llama.cpp's choice of one that they do.
_FALLBACK = {"Q2_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_EIGHT_EXPERTS = 8  # as in Mixtral: finer attention costs little beside so many experts
_FINER_OF_EIGHT = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M")
_LAYERS_OF_70B = 80
_SHARED = 4  # query heads a key head, from which on Q2_K spends more on attn_v


class LayerTypes(NamedTuple):
    """The types that depend on the place of a layer, before any fallback."""

    value: str
    down: str
    shared_down: str


class Mixture:
    """The rules for one shape at one quantization, with the deviations of one kind of build.

    `base` is the type of most matrices. Raises InvalidInput: there is no such quantization.
    """

    def __init__(self, shape: Architecture, quantization: str, deviation: Deviation) -> None:
        if quantization not in _BASE:
            known = ", ".join(_BASE)
            raise InvalidInput(f"quantization {quantization} is not known", hint=f"known: {known}")
        self.shape, self.quantization, self.deviation = shape, quantization, deviation
        self.base = _BASE[quantization]
        self.quantized = self.base not in _FLOATS

    def layer(self, index: int) -> LayerTypes:
        """Return the types that the layer's place decides; draft layers follow the last."""
        if not self.quantized:
            return LayerTypes(self.base, self.base, self.base)
        shape, deviation = self.shape, self.deviation
        count = shape.block_count + shape.draft_block_count
        seen = 0 if deviation.tower == "apart" else shape.vision_block_count
        place = index + seen if deviation.tower == "first" else index
        value = deviation.value_type or self._value(place, count + seen)
        if deviation.downs_counted and shape.expert_shared_feed_forward_length:
            downs = self._down(2 * index, count), self._down(2 * index + 1, count)
        else:
            downs = (self._down(index, count),) * 2
        return LayerTypes(value, *downs)

    def vision_type(self, slot: Slot) -> str:
        """Return the type of a tensor of the vision tower: not quantized, but for some attn_v."""
        shape, where = self.shape, self.deviation.tower
        if len(slot.shape) < 2:
            return "F32"
        if not self.quantized:
            return self.base
        if where == "apart" or not slot.name.endswith("attn_v.weight"):
            return "F16"
        index = int(slot.name.split(".")[2])
        place = index if where == "first" else index + shape.block_count
        found = self._value(place, shape.block_count + shape.vision_block_count)
        return self._fitting(found, slot.shape[0])

    def type_of(self, slot: Slot, layer: LayerTypes, *, draft: bool = False) -> str:
        """Return the type of a tensor of a layer."""
        name = slot.name.removesuffix(".weight")
        if len(slot.shape) < 2 or name in _KEPT:
            return "F32"
        if not self.quantized:
            return self.base
        found = self._fixed(name, draft=draft) or self._wanted(name, layer)
        return self._fitting(found, slot.shape[0])

    def _fixed(self, name: str, *, draft: bool) -> str | None:
        if self.base != "Q4_K":
            return None
        return (self.deviation.draft.get(name) if draft else None) or self.deviation.fixed.get(name)

    def _wanted(self, name: str, layer: LayerTypes) -> str:
        quantization, deviation = self.quantization, self.deviation
        if name == "attn_v" or (name in ("attn_qkv", "attn_kv_b") and deviation.fused_is_value):
            return layer.value
        if name.startswith("ffn_down"):
            return layer.shared_down if name == "ffn_down_shexp" else layer.down
        if name == "attn_qkv":
            return _FUSED.get(quantization, self.base)
        if deviation.fine_q2 and quantization == "Q2_K" and name in ("ffn_gate", "ffn_up"):
            return "Q3_K"
        if self.shape.expert_count == _EIGHT_EXPERTS and name in ("attn_k", "attn_output"):
            finer = quantization in _FINER_OF_EIGHT
            return "Q8_0" if name == "attn_k" else "Q5_K" if finer else self.base
        return _FINER.get(quantization, self.base) if name == "attn_output" else self.base

    def end_type(self, slot: Slot) -> str:
        """Return the type of a tensor of no layer: the embedding, the output, norms."""
        if len(slot.shape) < 2:
            return "F32"
        columns, base = slot.shape[0], self.base
        plain = slot.name == "token_embd.weight" and not self.shape.tied_embeddings
        if plain or not self.quantized or base == "Q8_0":
            return self._fitting(base, columns)
        return "Q8_0" if columns % block_elements(base) else self._fitting("Q6_K", columns)

    def _value(self, place: int, count: int) -> str:
        """Return attn_v's type at that place among `count`."""
        name, shape = self.quantization, self.shape
        found = self.base
        if name in ("Q4_K_M", "Q5_K_M") and _more_bits(place, count):
            found = "Q6_K"
        elif (name == "Q4_K_S" and place < 4) or name == "Q3_K_L":
            found = "Q5_K"
        elif name == "Q3_K_M":
            found = "Q5_K" if place < 2 else "Q4_K"
        elif name == "Q2_K":
            shared = shape.head_count // shape.head_count_kv >= _SHARED
            found = "Q4_K" if shared and not self.deviation.fine_q2 else "Q3_K"
        is_70b = shape.block_count == _LAYERS_OF_70B and self.deviation.wide_is_70b
        if is_70b and found in ("Q3_K", "Q4_K"):
            found = "Q5_K"
        return "Q8_0" if shape.expert_count == _EIGHT_EXPERTS else found

    def _down(self, place: int, count: int) -> str:
        """Return ffn_down's type at that place among `count`."""
        name = self.quantization
        if name in ("Q4_K_M", "Q5_K_M") and _more_bits(place, count):
            return "Q6_K"
        if (name == "Q4_K_S" and place < count // 8) or (name == "Q3_K_M" and place < count // 16):
            return "Q5_K"
        return _FINER.get(name, self.base)

    def _fitting(self, wanted: str, columns: int) -> str:
        """Return the type, or the one whose smaller blocks `columns` fill, or F16."""
        if columns % block_elements(wanted) == 0:
            return wanted
        found = self.deviation.q3_fallback if wanted == "Q3_K" else _FALLBACK.get(wanted, "F16")
        return found if columns % block_elements(found) == 0 else "F16"


def _more_bits(place: int, count: int) -> bool:
    """Say whether a layer is one of those that _M mixtures spend more on: the ends, and a third."""
    first = count // 8
    return place < first or place >= 7 * count // 8 or (place - first) % 3 == 2
