"""The server's error texts, mapped to our error tree (texts verified on 0.9.3, read at 0.33)."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import (
    DeployError,
    DiskFull,
    ModelUnavailable,
    OutOfMemory,
    PullFailed,
    RunnerDied,
    RunnerKilled,
    ServerRefused,
    SourceBusy,
    SourceCorrupt,
    SourceUnreachable,
)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What one of `signs` in a lower-cased text means; `said` replaces the text."""

    signs: tuple[str, ...]
    kind: type[DeployError]
    said: str = "pulling {model}: {text}"
    hint: str | None = None


# In this order: the text of a death may quote what the runner last said of its memory.
_LOAD = (
    # llm/status.go, and the scheduler's own check of 0.9.3.
    _Meaning(
        (
            "out of memory", "out of device memory", "out_of_device_memory", "erroroutofmemory",
            "cudamalloc failed", "hipmalloc failed", "failed to allocate", "allocation failed",
            "not enough memory", "insufficient memory", "requires more system memory",
        ),
        OutOfMemory,
        "the server could not load {model}: {text}",
    ),
    _Meaning(
        ("signal: killed",),
        RunnerKilled,
        "the runner of {model} was killed, most likely for want of memory: {text}",
    ),
    # While it loads; while it evaluates a prompt; in mid answer (the same text for every signal);
    # and as the server's own failed request to it. A bare "EOF" is a torn manifest instead.
    _Meaning(
        (
            "process has terminated", "process no longer running",
            "runner has unexpectedly stopped", "error was encountered while running the model",
            'post "http://127.0.0.1:',
        ),
        RunnerDied,
        "the runner of {model} died: {text}",
    ),
)  # fmt: skip

# In this order: "EOF" and the like stand inside of texts that say more.
_PULL = (
    _Meaning(
        ("digest mismatch",),
        SourceCorrupt,
        "what the registry delivers for {model} is damaged: {text}",
    ),
    _Meaning(
        ("no space left", "disk quota"), DiskFull, "the disk is full while pulling {model}: {text}"
    ),
    # A part of a download that was left waits for up to 32 s before it sees that; who asks for the
    # same file meanwhile gets the end of that download.
    _Meaning(
        ("context canceled",),
        SourceBusy,
        "pulling {model}: the server still ends an earlier download of it",
    ),
    _Meaning((": 429", ": 503", "too many requests", "service unavailable"), SourceBusy),
    _Meaning(
        ("file does not exist", "manifest unknown", "specified tag is not available", ": 404"),
        ModelUnavailable,
        "{model}: the registry does not have it",
    ),
    _Meaning(
        ("http response to https client",),
        PullFailed,
        "pulling {model}: the registry speaks plain http",
        "name it as http://HOST:PORT with --registry",
    ),
    _Meaning(
        ("no location header",),
        PullFailed,
        "pulling {model}: the registry serves blobs with 200; Ollama wants a redirect (307)",
        "docker-registry: set http.headers.Location to ['#'] in its configuration",
    ),
    _Meaning(
        (
            "no such host", "connection refused", "i/o timeout", "deadline exceeded",
            "network is unreachable", "no route to host", "connection reset", "proxyconnect",
            "max retries exceeded", "tls:", "x509", "temporary failure in name resolution",
            "server misbehaving", "eof",
        ),
        SourceUnreachable,
    ),
)  # fmt: skip


def load_failure(model: str, text: str) -> DeployError:
    """Return what an error of a load or a generation means."""
    refused = _Meaning((), ServerRefused, "the server refused {model}: {text}")
    return _meant(_LOAD, model, text, otherwise=refused)


def pull_failure(model: str, text: str) -> DeployError:
    """Return what an error inside a pull stream means; these carry no status code."""
    return _meant(_PULL, model, text, otherwise=_Meaning((), PullFailed))


def write_failure(name: str, text: str) -> DeployError:
    """Return what an error of a create or a copy means."""
    full = _Meaning(
        ("no space left", "disk quota"), DiskFull, "no room to write {model} into the store: {text}"
    )
    return _meant((full,), name, text, otherwise=_Meaning((), ServerRefused, "{text}"))


def _meant(table: Sequence[_Meaning], model: str, text: str, *, otherwise: _Meaning) -> DeployError:
    lower = text.lower()
    found = next((m for m in table if any(sign in lower for sign in m.signs)), otherwise)
    return found.kind(found.said.format(model=model, text=text), hint=found.hint)
