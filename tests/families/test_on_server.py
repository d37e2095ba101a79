"""What a real server makes of each family's template: what it is able to do, and its prompts."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.families import Family
from orchestrator.families.deepseek_r1 import R1
from orchestrator.families.known import FAMILIES
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
from orchestrator.runtime.binary import Binary
from tests.real import families as library
from tests.real import standin
from tests.real.server import RealServer
from tests.real.tiny import Spec, TinyModel
from tests.real.tokenizer import small

# ruff: noqa: RUF001 - R1's tokens are written with full-width bars
_OPTIONS = {"num_predict": 1, "num_ctx": 2048, "seed": 1, "temperature": 0}
_PROMPT = re.compile(r'msg="completion request" prompt=("(?:[^"\\]|\\.)*"|\S*)')
_TRACE = "2"  # the log has every prompt

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hello"}
TURNS = [USER, {"role": "assistant", "content": "Hi", "thinking": "hm"}, {**USER, "content": "Go"}]
STARTED = [USER, {"role": "assistant", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell it",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {"city": {"type": "string", "description": "where"}},
        },
    },
}
SIGNATURE = (
    '{"name":"weather","description":"Tell it","parameters":{"type":"object","required":["city"],'
    '"properties":{"city":{"type":"string","description":"where"}}}}'
)
CALL = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
CALLED: list[dict[str, Any]] = [
    USER,
    {"role": "assistant", "content": "", "thinking": "ask", "tool_calls": [CALL, CALL]},
    {"role": "tool", "content": "rain"},
]
TOOLS = f"""\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{{"type": "function", "function": {SIGNATURE}}}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""
ONE_CALL = '<tool_call>\n{"name": "weather", "arguments": {"city":"Rome"}}\n</tool_call>'
DEFAULT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."


class Listening:
    """A server that has one model under the template of each family, and tells what it is asked."""

    def __init__(self, server: RealServer, model: Path) -> None:
        self.server = server
        self.digest = server.client().create_blob(model)

    def create(self, name: str, template: str, parameters: Mapping[str, Any]) -> str:
        files = {"model.gguf": self.digest}
        self.server.client().create(
            name, files=files, template=template, parameters=dict(parameters)
        )
        return name

    def of(self, family: Family) -> str:
        return self.create(family.name, family.template, family.parameters)

    def chat(self, name: str, messages: Sequence[Mapping[str, Any]], **more: Any) -> str:
        """Return the prompt that a chat became."""
        before = len(self.server.log_text())
        self.server.client().chat(name, list(messages), options=_OPTIONS, **more)
        return self._prompt(before)

    def insert(self, name: str, prompt: str, suffix: str) -> str:
        """Return the prompt that a request for the middle of a file became."""
        before = len(self.server.log_text())
        self.server.client().generate(name, prompt, suffix=suffix, options=_OPTIONS)
        return self._prompt(before)

    def _prompt(self, since: int) -> str:
        found = _PROMPT.findall(self.server.log_text()[since:])[-1]
        text: str = json.loads(found) if found.startswith('"') else found
        return text


@pytest.fixture(scope="module")
def listening(
    runtime_binary: Binary, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Listening]:
    """One server for all: templates share one blob, which is loaded once and reads fast."""
    folder = tmp_path_factory.mktemp("families")
    spec = Spec("qwen2.5:0.5b", "Q8_0", library.QWEN25, "qwen2", 1, 64, 64, kv_heads=1)
    model = folder / "model.gguf"
    standin.write(model, spec.shape, spec.quantization, small(2048, chat=spec.family.chat))
    settings = {"OLLAMA_DEBUG": _TRACE}
    with RealServer(
        runtime_binary.path, runtime_binary.library_path, folder, settings=settings
    ) as server:
        yield Listening(server, model)


def test_a_server_sees_exactly_what_each_family_promises(listening: Listening) -> None:
    for family in FAMILIES:
        shown = listening.server.client().show(listening.of(family))
        promised = {
            "completion": True,
            "thinking": family.thinking,
            "tools": family.tools,
            "insert": family is QWEN25_CODER,
        }
        assert set(shown.capabilities or ()) == {k for k, v in promised.items() if v}, family.name
        told = re.findall(r'^stop\s+"(.*)"$', shown.parameters or "", re.MULTILINE)
        assert sorted(told) == sorted(family.parameters["stop"]), family.name


@pytest.mark.parametrize(
    ("ours", "theirs"), [(R1, library.R1), (QWEN3, library.QWEN3)], ids=["r1", "qwen3"]
)
def test_a_chat_without_tools_is_asked_as_the_library_asks(
    listening: Listening, ours: Family, theirs: library.Family
) -> None:
    assert ours.parameters == theirs.parameters
    mine = listening.of(ours)
    published = listening.create("published", theirs.template, theirs.parameters)
    for messages in ([USER], [SYSTEM, USER], [SYSTEM, *TURNS], STARTED):
        for think in (None, True, False):
            prompts = [listening.chat(name, messages, think=think) for name in (mine, published)]
            assert prompts[0] == prompts[1]


_BEGUN = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
_SAID = f"{_BEGUN}Hi<|im_end|>\n<|im_start|>user\nGo<|im_end|>\n<|im_start|>assistant\n"
_BRIEF = "<|im_start|>system\nBe brief.<|im_end|>\n"
_LLAMA = "<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>"


@pytest.mark.parametrize(
    ("family", "messages", "think", "prompt"),
    [
        (R1, [SYSTEM, USER], True, "Be brief.<｜User｜>Hello<｜Assistant｜>"),
        (R1, [USER], False, "<｜User｜>Hello<｜Assistant｜><think>\n\n</think>\n\n"),
        (R1, TURNS, True,
         "<｜User｜>Hello<｜Assistant｜>Hi<｜end▁of▁sentence｜><｜User｜>Go<｜Assistant｜>"),
        (QWEN3, [SYSTEM, *TURNS], None, _BRIEF + _SAID),
        (QWEN3, TURNS, True, _SAID.replace("Go", "Go /think")),
        (QWEN3, [USER], False, _BEGUN.replace("Hello", "Hello /no_think") +
         "<think>\n\n</think>\n\n"),
        (QWEN3_THINKING, TURNS, True, _SAID),
        (QWEN3_THINKING, [USER], False, _BEGUN + "<think>\n\n</think>\n\n"),
        (QWQ, [SYSTEM, *TURNS], True, _BRIEF + _SAID),
        (QWEN3_INSTRUCT, [SYSTEM, *TURNS], None, _BRIEF + _SAID),
        (QWEN25, TURNS, None, f"<|im_start|>system\n{DEFAULT}<|im_end|>\n{_SAID}"),
        (QWEN25, [SYSTEM, USER], None, _BRIEF + _BEGUN),
        (QWEN25_CODER, STARTED, None, f"<|im_start|>system\n{DEFAULT}<|im_end|>\n{_BEGUN}Hi"),
        (CHATML, [SYSTEM, *TURNS], None, _BRIEF + _SAID),
        (CHATML, STARTED, None, f"{_BEGUN}Hi"),
        (LLAMA3, [SYSTEM, *STARTED, USER], None,
         _LLAMA.format("system", "Be brief.") + _LLAMA.format("user", "Hello")
         + _LLAMA.format("assistant", "Hi") + _LLAMA.format("user", "Hello")
         + "<|start_header_id|>assistant<|end_header_id|>\n\n"),
        (LLAMA31, [SYSTEM, *STARTED], None,
         _LLAMA.format("system", "Cutting Knowledge Date: December 2023\n\nBe brief.")
         + _LLAMA.format("user", "Hello")
         + "<|start_header_id|>assistant<|end_header_id|>\n\nHi"),
    ],
)  # fmt: skip
def test_a_chat_becomes_the_prompt_that_the_family_was_trained_on(
    listening: Listening,
    family: Family,
    messages: list[dict[str, Any]],
    think: bool | None,
    prompt: str,
) -> None:
    assert listening.chat(listening.of(family), messages, think=think) == prompt


_ASKED = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
_ANSWERED = (
    "<|im_end|>\n<|im_start|>user\n<tool_response>\nrain\n</tool_response><|im_end|>\n"
    "<|im_start|>assistant\n"
)


@pytest.mark.parametrize(
    ("family", "system", "thought"),
    [
        (QWEN3, "", "<think>\nask\n</think>\n\n"),
        (QWEN3_THINKING, "", "<think>\nask\n</think>\n\n"),
        (QWQ, "", "<think>\nask\n</think>\n\n"),
        (QWEN3_INSTRUCT, "", ""),
        (QWEN25, f"{DEFAULT}\n\n", ""),
        (QWEN25_CODER, f"{DEFAULT}\n\n", ""),
    ],
    ids=lambda value: value.name if isinstance(value, Family) else "",
)
def test_tools_calls_and_their_results_stand_where_qwen_looks_for_them(
    listening: Listening, family: Family, system: str, thought: str
) -> None:
    name = listening.of(family)
    think = True if family.thinking else None
    told = f"<|im_start|>system\n{system}{TOOLS}<|im_end|>\n"
    asked = _ASKED.replace("Hello", "Hello /think") if family is QWEN3 else _ASKED
    calls = f"{ONE_CALL}\n{ONE_CALL}"
    assert listening.chat(name, CALLED, tools=[WEATHER], think=think) == (
        told + asked + thought + calls + _ANSWERED
    )
    both = [USER, {**CALLED[1], "content": "Wait."}, CALLED[2]]
    assert f"Wait.\n{calls}<|im_end|>" in listening.chat(name, both, think=think)


def test_llama_gets_its_tools_with_the_question(listening: Listening) -> None:
    called = [*STARTED, USER, {**CALLED[1], "tool_calls": [CALL]}, CALLED[2]]
    assert listening.chat(listening.of(LLAMA31), called, tools=[WEATHER]) == (
        _LLAMA.format("system", "Environment: ipython\nCutting Knowledge Date: December 2023\n\n")
        + _LLAMA.format("user", "Hello")
        + _LLAMA.format("assistant", "Hi")
        + _LLAMA.format(
            "user",
            "Given the following functions, please respond with a JSON for a function call with its"
            " proper arguments that best answers the given prompt.\n\nRespond in the format "
            '{"name": function name, "parameters": dictionary of argument name and its value}. Do '
            f'not use variables.\n\n{{"type": "function", "function": {SIGNATURE}}}\n\nHello',
        )
        + _LLAMA.format("assistant", '{"name": "weather", "parameters": {"city":"Rome"}}')
        + _LLAMA.format("ipython", "rain")
        + "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_the_coder_fills_the_middle_of_a_file(listening: Listening) -> None:
    prompt = listening.insert(listening.of(QWEN25_CODER), "def f(", "): pass")
    assert prompt == "<|fim_prefix|>def f(<|fim_suffix|>): pass<|fim_middle|>"


@pytest.mark.parametrize(
    ("tag", "families"),
    [("deepseek-r1:1.5b", [R1]), ("qwen3:0.6b", [QWEN3, QWEN3_THINKING, QWQ])],
)
def test_thoughts_are_told_from_answers_and_nothing_cuts_them(
    listening: Listening, tiny_models: Mapping[str, TinyModel], tag: str, families: list[Family]
) -> None:
    """The stand-ins think and answer in set words when their prompt ends as it should."""
    other = Listening(listening.server, tiny_models[tag].path)
    client = listening.server.client()
    for family in families:
        name = other.of(family)
        for think, thought in ((True, "Okay Let Me Think Once More Now"), (False, "")):
            tools = [WEATHER] if family is QWEN3 and think else None  # offered, and not called
            answer = client.chat(name, [USER], think=think, tools=tools, options={"num_ctx": 2048})
            assert (answer.message.thinking or "").strip() == thought, family.name
            told = (answer.message.content or "").strip()
            assert told == "Then Here Is One Fine Answer For You Today Good Luck", family.name
            assert answer.done_reason == "stop"
