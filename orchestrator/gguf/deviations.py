"""How builds of the library differ from what llama.cpp's own quantizer writes.

Each is what the quantizer of its day did (llama.cpp's, Ollama's server/quantization.go), and is
proven by sizes that no other reproduces: exact ones, else those that the library's pages list. The
catalogue names the one of each file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrator.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Deviation:
    """What one kind of build does otherwise.

    `fused_is_value`: attn_qkv and attn_kv_b get the finer types of attn_v. `value_type` is attn_v's
    type in every quantized file. `fixed` names types by tensor in the Q4_K mixtures, `draft` those
    in the layers that predict further tokens, before `fixed`. `wide_is_70b`: models of 80 layers
    get the finer attn_v of the 70B. `tower` says where the vision tower's attn_v are counted among
    the text's. `downs_counted`: each ffn_down of a layer counts as a layer of its own.
    `q3_fallback` replaces Q3_K where columns do not fill its blocks. `fine_q2`: in a Q2_K file only
    query and key are of that type.
    """

    fused_is_value: bool = True
    value_type: str | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)
    draft: Mapping[str, str] = field(default_factory=dict)
    wide_is_70b: bool = True
    tower: Literal["apart", "first", "last"] = "apart"
    downs_counted: bool = False
    q3_fallback: str = "Q4_0"
    fine_q2: bool = False


_LINEAR = {
    "attn_v": "Q6_K", "attn_qkv": "Q4_K", "ffn_down_exps": "Q6_K", "ffn_down_shexp": "Q6_K",
}  # fmt: skip
_OLLAMA = Deviation(fused_is_value=False, wide_is_70b=False, downs_counted=True)

DEVIATIONS: Mapping[str, Deviation] = {
    "llama.cpp": Deviation(),
    "llama.cpp-2023": Deviation(fused_is_value=False, q3_fallback="Q4_1", fine_q2=True),
    "llama.cpp-2024-02": Deviation(fused_is_value=False, q3_fallback="Q4_1"),
    "llama.cpp-2024": Deviation(fused_is_value=False),
    # Spring 2025: whatever had "v." in its name was taken for vision and left alone.
    "ollama-attn_v-f16": Deviation(value_type="F16"),
    "ollama": _OLLAMA,
    # 2025: the vision tower's attn_v are quantized and counted with the text's, before or after.
    "ollama-vl-vt": replace(_OLLAMA, tower="first"),
    "ollama-vl-tv": replace(_OLLAMA, tower="last"),
    # 2026: a table of types for the hybrids with linear attention. Its first version left the
    # experts of the draft layer apart, at the type of the rest.
    "ollama-linear": replace(_OLLAMA, fixed=_LINEAR, draft={"ffn_down_exps": "Q4_K"}),
    "ollama-linear-draft": replace(_OLLAMA, fixed=_LINEAR),
}


def deviation(rule: str) -> Deviation:
    """Return the deviation of that name. Raises InvalidInput: there is none."""
    if rule not in DEVIATIONS:
        known = ", ".join(DEVIATIONS)
        raise InvalidInput(f"quantization rule {rule!r} is not known", hint=f"known: {known}")
    return DEVIATIONS[rule]
