"""Which family a jinja template speaks of: pieces that stand in the real ones."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.families import Family
from orchestrator.families.deepseek_r1 import R1
from orchestrator.families.known import FAMILIES, family_of
from orchestrator.families.llama3 import LLAMA3, LLAMA31
from orchestrator.families.qwen import (
    CHATML,
    QWEN3,
    QWEN3_INSTRUCT,
    QWEN3_THINKING,
    QWEN25,
    QWEN25_CODER,
    QWQ,
)

# ruff: noqa: RUF001 - R1's tokens are written with full-width bars
_R1 = (
    "{{bos_token}}{{ns.system_prompt}}{{'<｜User｜>' + message['content']}}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{{'<｜Assistant｜><think>\\n'}}"
)
_V3 = "{{'<｜User｜>' + message['content']}}{{'<｜Assistant｜>' + content}}"
_V31 = "{% if not thinking is defined %}{% set thinking = false %}{% endif %}" + _R1
_CHATML = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'}}"
_TOOLS = "{{- '<|im_start|>system\\n' }}<tools></tools> <tool_call>\\n{\\\"name\\\": <|im_end|>"
_QWEN25 = _TOOLS + "{{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}"
_SPLIT = "{%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}"
_REASONING = "{%- if message.reasoning_content is string %}" + _SPLIT
_SWITCH = "{%- if enable_thinking is defined and enable_thinking is false %}<think>\\n\\n</think>"
_XML = _TOOLS + "<function=example_function_name>"
_LLAMA3 = "{{'<|start_header_id|>' + message['role'] + '<|end_header_id|>' + '<|eot_id|>'}}"


@pytest.mark.parametrize(
    ("architecture", "template", "name", "family"),
    [
        ("qwen2", _R1, "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", R1),
        ("llama", _R1, "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", R1),
        ("qwen3", _R1, "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", R1),
        ("qwen2", _R1, "somebody/renamed", R1),
        ("deepseek2", _V3, "deepseek-ai/DeepSeek-V3", None),
        ("deepseek2", _V31, "deepseek-ai/DeepSeek-V3.1", None),
        ("qwen3", _TOOLS + _REASONING + _SWITCH, "Qwen/Qwen3-8B", QWEN3),
        ("qwen3moe", _TOOLS + _REASONING + _SWITCH, "Qwen/Qwen3-30B-A3B", QWEN3),
        ("", _TOOLS + _REASONING + _SWITCH, "Qwen3-8B-Q4_K_M.gguf", QWEN3),
        ("qwen3moe", _TOOLS + _REASONING, "Qwen/Qwen3-30B-A3B-Thinking-2507", QWEN3_THINKING),
        ("qwen3", _TOOLS, "Qwen/Qwen3-4B-Instruct-2507", QWEN3_INSTRUCT),
        ("qwen2", _QWEN25, "Qwen/Qwen2.5-7B-Instruct", QWEN25),
        ("qwen2", _QWEN25, "Qwen/Qwen2.5-Coder-7B-Instruct", QWEN25_CODER),
        ("qwen2", _TOOLS + _SPLIT, "Qwen/QwQ-32B", QWQ),
        ("qwen2", _CHATML, "Qwen/Qwen2-7B-Instruct", CHATML),
        ("llama", _CHATML, "somebody/chatml-tune", CHATML),
        ("qwen3moe", _XML, "Qwen/Qwen3-Coder-30B-A3B-Instruct", CHATML),
        ("qwen35", _XML + _REASONING + _SWITCH, "Qwen/Qwen3.5-9B", None),
        ("smollm3", _CHATML + _SWITCH, "HuggingFaceTB/SmolLM3-3B", None),
        ("phi3", "<|im_start|>user<|im_sep|>{{ content }}<|im_end|>", "microsoft/phi-4", None),
        ("llama", _LLAMA3, "meta-llama/Meta-Llama-3-8B-Instruct", LLAMA3),
        ("llama", "Environment: ipython" + _LLAMA3, "meta-llama/Llama-3.1-8B-Instruct", LLAMA31),
        ("gemma3", "<start_of_turn>model", "google/gemma-3-4b-it", None),
        ("qwen2", "{{ messages }}", "Qwen/Qwen2.5-7B-Instruct", None),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value and "<" not in value else "",
)
def test_marks_of_the_template_decide(
    architecture: str, template: str, name: str, family: Family | None
) -> None:
    assert family_of(architecture=architecture, chat_template=template, name=name) is family


@pytest.mark.parametrize(
    ("architecture", "name", "family"),
    [
        ("qwen2", "DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf", R1),
        ("", "unsloth/DeepSeek-R1-Distill-Llama-8B-GGUF", R1),
        ("gemma", "DeepSeek-R1-like-gemma", None),
        ("deepseek2", "DeepSeek-R1-Zero", None),
        ("qwen2", "QwQ-32B-GGUF", QWQ),
        ("qwen2", "QwQ-32B-Preview", None),
        ("qwen3", "qwen3-0.6b-q8_0.gguf", QWEN3),
        ("qwen3", "Qwen3-8B-Base", None),
        ("qwen3moe", "Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf", QWEN3_INSTRUCT),
        ("qwen3moe", "Qwen3-235B-A22B-Thinking-2507", QWEN3_THINKING),
        ("qwen3moe", "Qwen3-Coder-30B-A3B-Instruct", None),
        ("qwen2", "qwen2.5-coder-7b-instruct-q4_0.gguf", QWEN25_CODER),
        ("qwen2", "Qwen2.5-7B-Instruct", QWEN25),
        ("qwen2", "Qwen2.5-7B", None),
        ("llama", "Meta-Llama-3-8B-Instruct", LLAMA3),
        ("llama", "Llama-3.2-3B-Instruct-Q4_K_M.gguf", LLAMA31),
        ("llama", "tinyllama-1.1b", None),
    ],
)
def test_without_a_template_only_a_name_that_leaves_no_doubt_decides(
    architecture: str, name: str, family: Family | None
) -> None:
    assert family_of(architecture=architecture, chat_template=" \n", name=name) is family


@given(st.text(), st.text(), st.text())
def test_no_text_is_too_strange(architecture: str, template: str, name: str) -> None:
    assert family_of(architecture=architecture, chat_template=template, name=name) in (
        None,
        *FAMILIES,
    )


def test_families_have_names_of_their_own_and_stop_at_no_thought() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert not any("think" in stop or "tool" in stop for stop in family.parameters["stop"])


def test_a_server_finds_the_marks_of_thoughts_and_calls_in_each_template() -> None:
    """It takes the first text below `if .ToolCalls`, and the texts around `.Thinking`."""
    for family in FAMILIES:
        called = re.search(r"if \.ToolCalls }}(.*?)\{\"name\"", family.template, re.DOTALL)
        assert bool(called) == family.tools, family.name
        if called:
            literal = re.sub(r"\{\{-? range .*?}}\s*", "", called[1]).strip()
            assert literal == ("" if family is LLAMA31 else "<tool_call>")
        told = "<think>\n{{ .Thinking }}\n</think>\n"
        assert (told in family.template) == family.thinking, family.name
