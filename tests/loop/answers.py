"""What the tests of the loop ask of a run and of the server behind it."""

import json
import urllib.request
from subprocess import CompletedProcess
from typing import Any

import jsonschema

from orchestrator.schema import load
from tests.real.server import RealServer


def answer(outcome: CompletedProcess[str], schema: str) -> Any:
    """The one document on stdout, valid by its schema, and no traceback anywhere."""
    assert "Traceback" not in outcome.stderr
    document = json.loads(outcome.stdout)
    jsonschema.validate(document, load(schema))
    return document


def chat(server: RealServer, model: str) -> str:
    """What a plain client of the OpenAI endpoint gets."""
    body = {"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "a b"}]}
    request = urllib.request.Request(
        f"{server.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return str(json.load(reply)["model"])
