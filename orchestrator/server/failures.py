"""The server's error texts, mapped to our error tree (texts verified on 0.9.3, read at 0.33)."""

from orchestrator.errors import (
    DeployError,
    DiskFull,
    ModelUnavailable,
    OutOfMemory,
    PullFailed,
    ServerRefused,
    SourceUnreachable,
)

# llm/status.go, and the scheduler's own check of 0.9.3.
_OUT_OF_MEMORY = (
    "out of memory", "out of device memory", "cudamalloc failed", "hipmalloc failed",
    "failed to allocate", "allocation failed", "not enough memory", "insufficient memory",
    "requires more system memory",
)  # fmt: skip
_UNREACHABLE = (
    "no such host", "connection refused", "i/o timeout", "deadline exceeded",
    "network is unreachable",
    "no route to host", "connection reset", "proxyconnect", "max retries exceeded", "tls:", "x509",
    "temporary failure in name resolution", "server misbehaving", "eof",
)  # fmt: skip
_ABSENT = ("file does not exist", "manifest unknown", "specified tag is not available", ": 404")


def load_failure(model: str, text: str) -> DeployError:
    """Return what an error of a load or a generation means."""
    if any(sign in text.lower() for sign in _OUT_OF_MEMORY):
        return OutOfMemory(f"the server could not load {model}: {text}")
    return ServerRefused(f"the server refused {model}: {text}")


def pull_failure(model: str, text: str) -> DeployError:
    """Return what an error inside a pull stream means; these carry no status code."""
    said = text.lower()
    if "no space left" in said or "disk quota" in said:
        return DiskFull(f"the disk filled up while pulling {model}: {text}")
    if any(sign in said for sign in _ABSENT):
        return ModelUnavailable(f"{model}: the registry does not have it")
    if "http response to https client" in said:
        return PullFailed(
            f"pulling {model}: the registry speaks plain http",
            hint="name it as http://HOST:PORT with --registry",
        )
    if "no location header" in said:
        return PullFailed(
            f"pulling {model}: the registry serves blobs with 200; Ollama wants a redirect (307)",
            hint="docker-registry: set http.headers.Location to ['#'] in its configuration",
        )
    if any(sign in said for sign in _UNREACHABLE):
        return SourceUnreachable(f"pulling {model}: {text}")
    return PullFailed(f"pulling {model}: {text}")
