"""The server's error texts, mapped to our error tree (texts verified on 0.9.3, read at 0.33)."""

from dataclasses import dataclass

from orchestrator.errors import (
    DeployError,
    DiskFull,
    ModelUnavailable,
    OutOfMemory,
    PullFailed,
    ServerRefused,
    SourceBusy,
    SourceUnreachable,
)

# llm/status.go, and the scheduler's own check of 0.9.3.
_OUT_OF_MEMORY = (
    "out of memory", "out of device memory", "cudamalloc failed", "hipmalloc failed",
    "failed to allocate", "allocation failed", "not enough memory", "insufficient memory",
    "requires more system memory",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What one of `signs` in a lower-cased text means; `said` replaces the text."""

    signs: tuple[str, ...]
    kind: type[DeployError]
    said: str = "pulling {model}: {text}"
    hint: str | None = None


# In this order: "EOF" and the like stand inside of texts that say more.
_PULL = (
    _Meaning(
        ("no space left", "disk quota"), DiskFull, "the disk is full while pulling {model}: {text}"
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
    if any(sign in text.lower() for sign in _OUT_OF_MEMORY):
        return OutOfMemory(f"the server could not load {model}: {text}")
    return ServerRefused(f"the server refused {model}: {text}")


def pull_failure(model: str, text: str) -> DeployError:
    """Return what an error inside a pull stream means; these carry no status code."""
    lower = text.lower()
    fallback = _Meaning((), PullFailed)
    found = next((m for m in _PULL if any(sign in lower for sign in m.signs)), fallback)
    return found.kind(found.said.format(model=model, text=text), hint=found.hint)
