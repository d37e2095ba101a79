"""Which family a model chats as, by the marks in its jinja chat template. Pure."""

import re
from dataclasses import dataclass

from orchestrator.families import Family
from orchestrator.families.deepseek_r1 import R1
from orchestrator.families.llama3 import LLAMA3, LLAMA31
from orchestrator.families.qwen import (
    CHATML,
    QWEN3,
    QWEN3_INSTRUCT,
    QWEN3_THINKING,
    QWEN25,
    QWEN25_CODER,
    QWEN25_SYSTEM,
    QWQ,
)

FAMILIES = (
    R1, QWEN3, QWEN3_THINKING, QWEN3_INSTRUCT, QWEN25, QWEN25_CODER, QWQ, LLAMA3, LLAMA31, CHATML,
)  # fmt: skip
"""All that are known."""

# ruff: noqa: RUF001 - R1's tokens are written with full-width bars
_CHATML, _TOOL = "<|im_start|>", "<tool_call>"
_PARAMETER = "<function="  # calls as XML, which no template makes a server of 0.9.3 read


@dataclass(frozen=True, kw_only=True, slots=True)
class _Marks:
    """What a jinja template has, has not, and which architectures (by their begin) it is for."""

    family: Family
    present: tuple[str, ...]
    absent: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ("",)

    def fit(self, template: str, architecture: str) -> bool:
        """Say whether a template has these marks; an architecture that nobody names fits all."""
        return (
            all(mark in template for mark in self.present)
            and not any(mark in template for mark in self.absent)
            and (not architecture or architecture.startswith(self.architectures))
        )


_MARKED = (
    # V3.1 has the tokens of R1 and a switch, `thinking`; V3 has no thoughts.
    _Marks(family=R1, present=("<｜User｜>", "</think>"), absent=("thinking is defined",)),
    _Marks(
        family=QWEN3,
        present=(_CHATML, _TOOL, "enable_thinking"),
        absent=(_PARAMETER,),
        architectures=("qwen3",),
    ),
    _Marks(
        family=QWEN3_THINKING,
        present=(_CHATML, _TOOL, "</think>", "reasoning_content"),
        absent=(_PARAMETER, "enable_thinking"),
        architectures=("qwen3",),
    ),
    _Marks(
        family=QWQ,
        present=(_CHATML, _TOOL, "</think>"),
        absent=(_PARAMETER, "enable_thinking"),
        architectures=("qwen2",),
    ),
    _Marks(
        family=QWEN25,
        present=(_CHATML, _TOOL, QWEN25_SYSTEM),
        absent=("</think>",),
        architectures=("qwen2",),
    ),
    _Marks(
        family=QWEN3_INSTRUCT,
        present=(_CHATML, _TOOL),
        absent=(_PARAMETER, "</think>", "enable_thinking"),
        architectures=("qwen3",),
    ),
    _Marks(family=LLAMA31, present=("<|start_header_id|>", "<|eot_id|>", "ipython")),
    _Marks(family=LLAMA3, present=("<|start_header_id|>", "<|eot_id|>"), absent=("ipython",)),
    # Others that begin a message as ChatML go on otherwise: Phi-4, Kimi; or have a switch.
    _Marks(
        family=CHATML,
        present=(_CHATML, "<|im_end|>"),
        absent=("<|im_sep|>", "<|im_middle|>", "enable_thinking"),
    ),
)

# Without a template only names tell that are of one family alone; a base model has no family.
_NAMED = (
    (R1, r"deepseek-r1(?!-zero)", ("qwen2", "qwen3", "llama", "deepseek2")),
    (QWQ, r"qwq-\d+b(?!-preview)", ("qwen2",)),
    (QWEN25_CODER, r"qwen2\.5-coder-.*instruct", ("qwen2",)),
    (QWEN25, r"qwen2\.5-[\d.]+b-instruct", ("qwen2",)),
    (QWEN3_INSTRUCT, r"qwen3-[\w.-]*instruct-2507", ("qwen3",)),
    (QWEN3_THINKING, r"qwen3-[\w.-]*thinking-2507", ("qwen3",)),
    (QWEN3, r"qwen3-[\d.]+b(?!.*(base|instruct|thinking|coder))", ("qwen3",)),
    (LLAMA31, r"llama-3\.[123]-[\d.]+b-instruct", ("llama",)),
    (LLAMA3, r"llama-3-[\d.]+b-instruct", ("llama",)),
)


def family_of(*, architecture: str, chat_template: str, name: str) -> Family | None:
    """Return what a model is created with, None: nothing is known that would be right.

    `architecture` is the name in a GGUF, "" for unknown; `chat_template` jinja, "" for none. Then
    the name, of a repository or a file, decides; it also tells a coder from its like.
    """
    kind, called = architecture.lower(), name.lower()
    if not chat_template.strip():
        return _by_name(kind, called)
    found = next((each.family for each in _MARKED if each.fit(chat_template, kind)), None)
    return QWEN25_CODER if found is QWEN25 and "coder" in called else found


def _by_name(architecture: str, name: str) -> Family | None:
    for family, pattern, architectures in _NAMED:
        fits = not architecture or architecture.startswith(architectures)
        if fits and re.search(pattern, name):
            return family
    return None
