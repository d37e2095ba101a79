"""JSON Schemas of every --json output: the contracts that scripts may rely on."""

import json
from importlib import resources
from typing import Any

from orchestrator.errors import InvalidInput


def names() -> tuple[str, ...]:
    """Return the names that `deploy schema NAME` takes."""
    files = resources.files(__package__).iterdir()
    return tuple(sorted(f.name[:-5] for f in files if f.name.endswith(".json")))


def load(name: str) -> dict[str, Any]:
    """Return one schema. Raises InvalidInput: there is none of that name."""
    if name not in names():
        raise InvalidInput(
            f"there is no schema {name!r}", hint=f"one of: {', '.join(names())}", name=name
        )
    text = resources.files(__package__).joinpath(f"{name}.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
