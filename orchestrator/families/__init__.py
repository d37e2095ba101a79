"""What a model of a family is created with: chat template, stops, parameters. Pure.

Ollama guesses a template by likeness, finds none for R1, and then answers chats wrongly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """The Go template of a family, its parameters (stops among them), and what it is able to do."""

    name: str
    template: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    thinking: bool = False
    tools: bool = False
