"""The families of Qwen. Pure.

The thinking ones without a switch open the thought in the prompt of their own jinja. Here they
write `<think>` themselves: a server of 0.9.3 looks for it in the answer.
"""

from orchestrator.families import Family
from orchestrator.families.chatml import PLAIN, STOPS, qwen, with_insert

QWEN25_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
"""What Qwen2.5 is told by default, and a mark by which its jinja is known."""

_THINKING = {
    "stop": STOPS,
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
    "repeat_penalty": 1.0,
}

CHATML = Family(name="chatml", template=PLAIN, parameters={"stop": STOPS})

QWEN25 = Family(
    name="qwen2.5",
    template=qwen(default_system=QWEN25_SYSTEM),
    parameters={"stop": STOPS},
    tools=True,
)
QWEN25_CODER = Family(
    name="qwen2.5-coder",
    template=with_insert(QWEN25.template),
    parameters={"stop": STOPS},
    tools=True,
)
QWEN3 = Family(
    name="qwen3",
    template=qwen(thinking=True, switch=True),
    parameters=_THINKING,
    thinking=True,
    tools=True,
)
QWEN3_THINKING = Family(
    name="qwen3-thinking",
    template=qwen(thinking=True),
    parameters=_THINKING,
    thinking=True,
    tools=True,
)
QWEN3_INSTRUCT = Family(
    name="qwen3-instruct",
    template=qwen(),
    parameters=_THINKING | {"temperature": 0.7, "top_p": 0.8},
    tools=True,
)
QWQ = Family(
    name="qwq",
    template=qwen(thinking=True),
    parameters=_THINKING | {"top_k": 40},
    thinking=True,
    tools=True,
)
