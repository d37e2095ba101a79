"""From a Hugging Face config.json to the architecture that Ollama's import makes of it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from orchestrator.era import NEWEST, ServerVersion
from orchestrator.errors import InvalidInput
from orchestrator.gguf.facts import state_bytes
from orchestrator.model import Architecture

Fields = dict[str, Any]
_MOST = 2**32 - 1
_MOST_BLOCKS = 4096
IMPORTED_QUANTIZATIONS = ("Q4_K_M", "Q4_K_S", "Q8_0", "F16", "F32")
"""What Ollama's import makes of safetensors; the first unless told otherwise."""
IMPORTED_TYPES = ("F32", "F16", "BF16")
"""The element types that it reads."""
_EARLY, _LATER = "0.9.3 and later", "later versions than 0.9.3"
_FIRST_SEEN = ServerVersion((0, 9, 3))


class Config:
    """The numbers of one config.json. Raises InvalidInput: a key is missing or makes no sense."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def number(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """Return an integer; null counts as missing, as the files of the hub mean it."""
        value = self._document.get(key)
        value = default if value is None else value
        if value is None:
            raise InvalidInput(f"config.json has no {key}")
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MOST:
            raise InvalidInput(f"config.json says {key} = {str(value)[:80]}")
        return value

    def get(self, key: str) -> Any:  # noqa: ANN401 - JSON
        """Return a value as it stands, None if there is none."""
        return self._document.get(key)

    def part(self, key: str) -> Mapping[str, Any]:
        """Return an object in it; empty if there is none."""
        value = self._document.get(key)
        return value if isinstance(value, Mapping) else {}


def _dense(_config: Config) -> Fields:
    return {}


def _llama(config: Config) -> Fields:
    heads = config.number("num_attention_heads")
    size = config.number("head_dim", config.number("hidden_size") // heads)
    scaling = config.part("rope_scaling") or config.part("rope_parameters")
    tabled = scaling.get("rope_type", scaling.get("type")) == "llama3"
    return {"rope_dimension_count": size, "rope_factor_count": size // 2 if tabled else 0}


def _experts(config: Config) -> Fields:
    if config.number("decoder_sparse_step", 1) != 1 or config.get("mlp_only_layers"):
        raise InvalidInput("config.json has layers with and without experts: not known")
    return {
        "expert_count": config.number("num_experts"),
        "expert_used_count": config.number("num_experts_per_tok"),
        "expert_feed_forward_length": config.number("moe_intermediate_size"),
        "expert_shared_feed_forward_length": config.number(
            "shared_expert_intermediate_size", 0, least=0
        ),
    }


def _latent(config: Config) -> Fields:
    rope, each = config.number("qk_rope_head_dim"), config.number("moe_intermediate_size")
    return {
        "key_length": config.number("qk_nope_head_dim") + rope,
        "value_length": config.number("v_head_dim"),
        "kv_lora_rank": config.number("kv_lora_rank"),
        "q_lora_rank": config.number("q_lora_rank", 0, least=0),
        "rope_dimension_count": rope,
        "leading_dense_block_count": config.number("first_k_dense_replace", 0, least=0),
        "expert_count": config.number("n_routed_experts"),
        "expert_used_count": config.number("num_experts_per_tok"),
        "expert_feed_forward_length": each,
        "expert_shared_feed_forward_length": each * config.number("n_shared_experts", 0, least=0),
        "expert_bias": config.get("topk_method") == "noaux_tc",
    }


def _hybrid(config: Config) -> Fields:
    blocks, interval = (config.number(k) for k in ("num_hidden_layers", "full_attention_interval"))
    kernel, state, groups, heads = (
        config.number(f"linear_{key}")
        for key in ("conv_kernel_dim", "key_head_dim", "num_key_heads", "num_value_heads")
    )
    inner = heads * config.number("linear_value_head_dim")
    turning = config.get("partial_rotary_factor")
    turning = config.part("rope_parameters").get("partial_rotary_factor", turning)
    if not isinstance(turning, int | float) or not 0 < turning <= 1:
        raise InvalidInput(f"config.json says partial_rotary_factor = {str(turning)[:80]}")
    attending = blocks // interval
    return {
        "attention_block_count": attending,
        "recurrent_state_bytes": (blocks - attending) * state_bytes(kernel, inner, groups, state),
        "rope_dimension_count": int(config.number("head_dim") * turning),
        "ssm_conv_kernel": kernel,
        "ssm_inner_size": inner,
        "ssm_state_size": state,
        "ssm_group_count": groups,
        "ssm_time_step_rank": heads,
    }


def _hybrid_experts(config: Config) -> Fields:
    return _hybrid(config) | _experts(config)


class _Class(NamedTuple):
    """`imported` by which versions of Ollama, None: by none (convert/convert.go)."""

    architecture: str
    fields: Callable[[Config], Fields]
    imported: str | None


_CLASSES = {
    "LlamaForCausalLM": _Class("llama", _llama, _EARLY),
    "MistralForCausalLM": _Class("llama", _llama, None),
    "Qwen2ForCausalLM": _Class("qwen2", _dense, _EARLY),
    "Qwen3ForCausalLM": _Class("qwen3", _dense, None),
    "Qwen3MoeForCausalLM": _Class("qwen3moe", _experts, None),
    "DeepseekV2ForCausalLM": _Class("deepseek2", _latent, None),
    "DeepseekV3ForCausalLM": _Class("deepseek2", _latent, _LATER),
    "Qwen3NextForCausalLM": _Class("qwen3next", _hybrid_experts, _LATER),
    "Qwen3_5ForConditionalGeneration": _Class("qwen35", _hybrid, _LATER),
    "Qwen3_5MoeForConditionalGeneration": _Class("qwen35moe", _hybrid_experts, _LATER),
}


def class_of(document: Mapping[str, Any]) -> str:
    """Return the class that decides how the model is read: the first of `architectures`."""
    named = document.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise InvalidInput("config.json names no architecture")
    return named[0]


def imported_by(name: str) -> str | None:
    """Return which versions of Ollama import safetensors of that class; None: no version."""
    return _CLASSES[name].imported if name in _CLASSES else None


def imports(name: str, version: ServerVersion) -> bool | None:
    """Return whether that version of Ollama imports safetensors of a class.

    None: it is not known. The lists of two versions are: 0.9.3's, and the newest's.
    """
    by = imported_by(name)
    if by is None:
        return False
    first, without = (_FIRST_SEEN, None) if by == _EARLY else (NEWEST, _FIRST_SEEN)
    if version >= first:
        return True
    return False if without and version <= without else None


def architecture_of(document: Mapping[str, Any], *, own_output: bool | None = None) -> Architecture:
    """Return the architecture that a config.json describes.

    `own_output`: whether the files have an output matrix of their own; None: as the config says.
    Raises InvalidInput: a class that is not known, by name, or a key that makes no sense.
    """
    name = class_of(document)
    if name not in _CLASSES:
        raise InvalidInput(
            f"architecture {name[:80]} is unknown, and not guessed",
            hint=f"known are {', '.join(_CLASSES)}; or name a GGUF repository",
        )
    found = _CLASSES[name]
    nested = document.get("text_config")
    config = Config(nested if isinstance(nested, Mapping) else document)
    tied = bool(config.get("tie_word_embeddings"))
    fields = _common(config) | found.fields(config)
    fields["tied_embeddings"] = tied if own_output is None else not own_output
    return Architecture(name=found.architecture, **fields)


def _common(config: Config) -> Fields:
    embedding, heads = config.number("hidden_size"), config.number("num_attention_heads")
    blocks = config.number("num_hidden_layers")
    if blocks > _MOST_BLOCKS:
        raise InvalidInput(f"config.json says num_hidden_layers = {blocks}")
    size = config.number("head_dim", embedding // heads)
    return {
        "block_count": blocks,
        "embedding_length": embedding,
        "feed_forward_length": config.number("intermediate_size", 0, least=0),
        "head_count": heads,
        "head_count_kv": config.number("num_key_value_heads", heads),
        "key_length": size,
        "value_length": size,
        "vocab_size": config.number("vocab_size"),
        "context_length": config.number("max_position_embeddings"),
    }
