"""What the files of a repository say of chats and of rights: the jinja template, the licence."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orchestrator.importing import LocalFile

_LONGEST_BYTES = 16 * 1024**2
_JINJA = "chat_template.jinja"
_DOCUMENTS = "chat_template.json", "tokenizer_config.json"


def chat_template(files: Mapping[str, LocalFile]) -> str:
    """Return the jinja text that chats are written with, "" for none."""
    if text := text_of(files.get(_JINJA)):
        return text
    for name in _DOCUMENTS:
        with suppress(ValueError, RecursionError):
            document = json.loads(text_of(files.get(name)) or "{}")
            if isinstance(document, dict) and (found := _template(document.get("chat_template"))):
                return found
    return ""


def _template(told: Any) -> str:  # noqa: ANN401 - JSON
    """Return a template; of several by name the one that is called `default`."""
    if isinstance(told, list):
        named = {each.get("name"): each.get("template") for each in told if isinstance(each, dict)}
        told = named.get("default")
    return told if isinstance(told, str) else ""


def text_of(file: LocalFile | None) -> str | None:
    """Return the text of a small file, None: there is none, or it is no text of reasonable size."""
    if file is None or file.size_bytes > _LONGEST_BYTES:
        return None
    return file.path.read_bytes().decode("utf-8", "replace")
