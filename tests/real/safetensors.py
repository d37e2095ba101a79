"""Tiny repositories of safetensors in the hub's form: sharded, with a real byte-level tokenizer."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tests.real.tokenizer import CONTROL, NORMAL, R1_BOS, R1_EOS, USER_DEFINED, Tokenizer, small

# ruff: noqa: RUF001 - R1's tokens are written with full-width bars
QWEN2, LLAMA = "Qwen2ForCausalLM", "LlamaForCausalLM"
_VOCABULARY, _HEAD, _KV_HEADS = 2048, 64, 2
_CONTEXT = 4096
# The server knows a pre-tokenizer by the digest of exactly this text, Qwen's or Llama's.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DIGITS = {QWEN2: "", LLAMA: "{1,3}"}
_MODEL_TYPES = {QWEN2: "qwen2", LLAMA: "llama"}

_CHATML_JINJA = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system
You are a helpful assistant.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

_QWEN25_JINJA = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\n\
You are provided with function signatures within <tools></tools> XML tags:\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\n\\nFor each function call, return a json object with function name and \
arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \
\\"arguments\\": <args-json-object>}\\n</tool_call><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful \
assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or \
(message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + \
'\\n</tool_response><|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

_R1_JINJA = """\
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}\
{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}\
{%- for message in messages %}{%- if message['role'] == 'system' %}\
{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}\
{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}\
{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}\
{{'<｜User｜>' + message['content']}}{%- endif %}\
{%- if message['role'] == 'assistant' and message['content'] is not none %}\
{% set content = message['content'] %}{% if '</think>' in content %}\
{% set content = content.split('</think>')[-1] %}{% endif %}\
{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor -%}\
{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"""

JINJA = {"chatml": _CHATML_JINJA, "qwen2.5": _QWEN25_JINJA, "r1": _R1_JINJA, "none": None}
"""The chat templates by the name that `write_repository` takes."""


def write_repository(
    folder: Path,
    *,
    architecture: str = QWEN2,
    shards: int = 3,
    chat: str = "chatml",
    layers: int = 4,
    width: int = 256,
    inner: int = 512,
    seed: int = 7,
) -> Path:
    """Write a model of noise in BF16 as a repository of the hub holds it; 8 MB by default.

    `chat` is a key of JINJA; `shards` 1 writes one model.safetensors and no index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = small(_VOCABULARY, chat="r1" if chat == "r1" else "chatml")
    _write(folder / "config.json", _config(architecture, tokenizer, layers, width, inner))
    _write(folder / "tokenizer.json", _tokenizer(architecture, tokenizer))
    _write(folder / "tokenizer_config.json", _tokenizer_config(chat))
    _write(folder / "generation_config.json", {"temperature": 0.6, "top_p": 0.95})
    _write_shards(folder, _tensors(architecture, layers, width, inner, seed), shards)
    return folder


def write_shard(path: Path, tensors: dict[str, np.ndarray[Any, Any]], dtype: str = "BF16") -> None:
    """Write one file of the safetensors format; each array holds two bytes an element."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, array in tensors.items():
        spans = [at, at + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": spans}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(array.tobytes())


def _write_shards(folder: Path, tensors: dict[str, np.ndarray[Any, Any]], shards: int) -> None:
    if shards == 1:
        write_shard(folder / "model.safetensors", tensors)
        return
    names, places = list(tensors), dict[str, str]()
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        # Names are dealt in turn: a lost shard leaves holes in every layer.
        held = {name: tensors[name] for name in names[shard::shards]}
        write_shard(folder / file, held)
        places |= dict.fromkeys(held, file)
    total = sum(array.nbytes for array in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    _write(folder / "model.safetensors.index.json", index)


def _tensors(
    architecture: str, layers: int, width: int, inner: int, seed: int
) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    kv = _KV_HEADS * _HEAD
    found = {
        "model.embed_tokens.weight": _noise(rng, _VOCABULARY, width),
        "model.norm.weight": _ones(width),
        "lm_head.weight": _noise(rng, _VOCABULARY, width),
    }
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes = {"q": (width, width), "k": (kv, width), "v": (kv, width), "o": (width, width)}
        for each, shape in shapes.items():
            found[f"{at}.self_attn.{each}_proj.weight"] = _noise(rng, *shape)
            if architecture == QWEN2 and each != "o":
                found[f"{at}.self_attn.{each}_proj.bias"] = _noise(rng, shape[0])
        for each, shape in {
            "gate": (inner, width), "up": (inner, width), "down": (width, inner)
        }.items():  # fmt: skip
            found[f"{at}.mlp.{each}_proj.weight"] = _noise(rng, *shape)
        found[f"{at}.input_layernorm.weight"] = _ones(width)
        found[f"{at}.post_attention_layernorm.weight"] = _ones(width)
    return found


def _noise(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return _bf16(rng.standard_normal(shape, dtype=np.float32) * 0.05)


def _ones(width: int) -> np.ndarray[Any, Any]:
    return _bf16(np.ones(width, dtype=np.float32))


def _bf16(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Cut the lower half of each float: what is left is a BF16."""
    return (array.view(np.uint32) >> 16).astype(np.uint16)


def _config(
    architecture: str, tokenizer: Tokenizer, layers: int, width: int, inner: int
) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": inner,
        "max_position_embeddings": _CONTEXT,
        "model_type": _MODEL_TYPES[architecture],
        "num_attention_heads": width // _HEAD,
        "num_hidden_layers": layers,
        "num_key_value_heads": _KV_HEADS,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": _VOCABULARY,
    }


def _tokenizer(architecture: str, tokenizer: Tokenizer) -> dict[str, Any]:
    pattern = {"Regex": _WORDS % _DIGITS[architecture]}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    plain = {t: n for n, t in enumerate(tokenizer.tokens) if tokenizer.types[n] == NORMAL}
    return {
        "version": "1.0",
        "added_tokens": [
            _added(n, token, special=tokenizer.types[n] == CONTROL)
            for n, token in enumerate(tokenizer.tokens)
            if tokenizer.types[n] in {CONTROL, USER_DEFINED}
        ],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split, level | {"use_regex": False}],
        },
        "decoder": level | {"use_regex": True},
        "model": {"type": "BPE", "vocab": plain, "merges": list(tokenizer.merges)},
    }


def _added(number: int, token: str, *, special: bool) -> dict[str, Any]:
    sides = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, **sides, "special": special}


def _tokenizer_config(chat: str) -> dict[str, Any]:
    begin, end = (R1_BOS, R1_EOS) if chat == "r1" else ("<|endoftext|>", "<|im_end|>")
    template = JINJA[chat]
    return {
        "add_bos_token": chat == "r1",
        "bos_token": begin,
        "eos_token": end,
        "pad_token": end,
        "model_max_length": _CONTEXT,
        "tokenizer_class": "Qwen2Tokenizer",
        **({} if template is None else {"chat_template": template}),
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False))
