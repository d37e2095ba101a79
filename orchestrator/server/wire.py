"""Small JSON requests over http.client.

`plan` and `status` must answer in a third of a second; importing the ollama client alone takes
longer than that, so the short reads go through the standard library. Everything that streams or
changes something goes through the ollama client (client.py).
"""

import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

from orchestrator.errors import ServerRefused, ServerUnreachable

_PART_BYTES = 65536


def request(
    host: str, method: str, path: str, body: dict[str, Any] | None = None, *, timeout_s: float
) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON answer of one request, or None for 404.

    `timeout_s` bounds the whole answer. Raises ServerUnreachable: nobody answers in time, or it is
    no JSON. ServerRefused: an error.
    """
    status, text = _exchange(host, method, path, body, timeout_s)
    if status == http.client.NOT_FOUND:
        return None
    try:
        answer = json.loads(text) if text.strip() else {}
    except ValueError as e:
        raise ServerUnreachable(
            f"{host} answers {path} with {text[:60]!r}, which is not Ollama's JSON",
            hint="set OLLAMA_HOST to the address of an Ollama server",
        ) from e
    if status >= http.client.BAD_REQUEST:
        said = answer.get("error", text[:200]) if isinstance(answer, dict) else text[:200]
        raise ServerRefused(f"{host} refused {path}: {said}", status=status)
    return answer


def _exchange(
    host: str, method: str, path: str, body: dict[str, Any] | None, timeout_s: float
) -> tuple[int, str]:
    url = urlsplit(host)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "127.0.0.1", url.port, timeout=timeout_s)
    until = time.monotonic() + timeout_s
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, _body(answer, until).decode("utf-8", "replace")
    except TimeoutError as e:
        raise ServerUnreachable(
            f"the Ollama server at {host} gave no answer to {path} within {timeout_s:.0f} s",
            hint="it may be loading a model: try again, or read its log",
        ) from e
    except (OSError, http.client.HTTPException) as e:
        raise ServerUnreachable(f"no Ollama server at {host} ({e})") from e
    finally:
        connection.close()


def _body(answer: http.client.HTTPResponse, until: float) -> bytes:
    """Return all of an answer. Raises TimeoutError: it comes byte by byte, past its time."""
    parts = []
    while part := answer.read1(_PART_BYTES):
        parts.append(part)
        if time.monotonic() > until:
            raise TimeoutError
    if answer.length:  # bytes that were announced and did not come
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(parts)
