"""The server's error texts, mapped to our error tree (texts verified on 0.9.3, read at 0.33)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import (
    DeployError,
    DiskFull,
    InvalidInput,
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

_LOOKED_UP = re.compile(r"lookup ([^\s:]+)")
_ASKED = re.compile(r"https?://([^/\s\"?]+)")
# The signed address of a file lets in whoever has it, so it is not repeated.
_SIGNATURE = re.compile(r"\?[^\s\"']*=[^\s\"']*")


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What one of `signs` in a lower-cased text means; `said` replaces the text.

    `cause` goes into the details of the failure of a pull, for who decides what may cure it.
    """

    signs: tuple[str, ...]
    kind: type[DeployError]
    said: str = "pulling {model}: {text}"
    hint: str | None = None
    cause: str | None = None


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

_KEPT = "run the same command again: what is here already is kept"
# In this order: "EOF" and the like stand inside of texts that say more, and a proxy, a name or a
# certificate that fails says so at the end of them.
_PULL = (
    _Meaning(
        ("digest mismatch",),
        SourceCorrupt,
        "what the registry delivers for {model} is damaged: {text}",
    ),
    _Meaning(
        ("no space left", "disk quota"), DiskFull, "the disk is full while pulling {model}: {text}"
    ),
    _Meaning(
        ("invalid model name",),
        InvalidInput,
        "{model} is no name that the server takes: {text}",
        "write it as NAME:TAG or HOST/ORG/NAME:TAG, of letters, digits and _ - .",
    ),
    # A part of a download that was left waits for up to 32 s before it sees that; who asks for the
    # same file meanwhile gets the end of that download.
    _Meaning(
        ("context canceled",),
        SourceBusy,
        "pulling {model}: the server still ends an earlier download of it",
        cause="ending",
    ),
    _Meaning(
        (": 429", ": 503", "too many requests", "service unavailable"), SourceBusy, cause="busy"
    ),
    # The registry of Hugging Face refuses with 400 what it will not serve.
    _Meaning(
        ("sharded gguf",),
        ModelUnavailable,
        "{model}: its file lies there in several parts, which its registry does not serve",
        "name a quantization in one file, or fetch the parts with `deploy pull hf:ORG/REPO`",
        cause="sharded",
    ),
    _Meaning(
        ("specified tag is not available",),
        ModelUnavailable,
        "{model}: the repository is there and has no file of that quantization",
        "name a quantization that it has, or none: then the repository chooses",
        cause="quantization",
    ),
    _Meaning(
        ("repository is not gguf", "not compatible with llama.cpp"),
        ModelUnavailable,
        "{model}: the repository has no GGUF file",
        "name the one that holds the GGUF files, or import it with `deploy pull hf:ORG/REPO`",
        cause="no-gguf",
    ),
    _Meaning(
        ("requires a newer version of ollama", "manifest: 412"),
        ModelUnavailable,
        "{model} needs a newer Ollama than this server",
        "install a newer one with `deploy runtime install`, or choose another model",
        cause="server-too-old",
    ),
    _Meaning(
        ("file does not exist", "manifest unknown", ": 404"),
        ModelUnavailable,
        "{model}: the registry does not have it",
        cause="absent",
    ),
    _Meaning(
        ("unauthorized", "access denied", ": 401", ": 403"),
        ModelUnavailable,
        "{model}: the registry refuses it without a login, or has no such model: {text}",
        "check how it is spelled; for a private model the owner adds the server's key, "
        "id_ed25519.pub in the .ollama folder of the server's user",
        cause="login",
    ),
    _Meaning(
        ("http response to https client",),
        PullFailed,
        "pulling {model}: the registry speaks plain http",
        "pull the plain tag through it: deploy pull NAME:TAG --registry http://{host}",
        cause="plain-http",
    ),
    _Meaning(
        ("no location header",),
        PullFailed,
        "pulling {model}: the registry serves blobs with 200; Ollama wants a redirect (307)",
        "docker-registry: set http.headers.Location to ['#'] in its configuration",
        cause="no-redirect",
    ),
    _Meaning(
        ("unexpected status code",),
        PullFailed,
        "pulling {model}: the registry answers for a file as Ollama does not understand: {text}",
        "it must redirect with 307; name another registry with --registry URL",
        cause="no-redirect",
    ),
    _Meaning(
        ("proxyconnect", "proxy authentication required"),
        SourceUnreachable,
        "pulling {model}: the proxy that the Ollama server is set to does not let it out: {text}",
        "the server uses its own HTTPS_PROXY, not ours: with systemd `systemctl edit ollama`, "
        "Environment=HTTPS_PROXY=http://HOST:PORT, then restart it while no pull goes on",
        cause="proxy",
    ),
    _Meaning(
        ("no such host", "temporary failure in name resolution", "server misbehaving"),
        SourceUnreachable,
        "pulling {model}: the Ollama server finds no address for {host}",
        "the server's host is offline, behind a proxy that the server is not told of, or its DNS "
        "does not know {host}: name a registry that it reaches, or load a bundle",
        cause="dns",
    ),
    _Meaning(
        ("certificate has expired", "not yet valid"),
        SourceUnreachable,
        "pulling {model}: the certificate of {host} is out of its dates: {text}",
        "check the clock of the server's host with `date`",
        cause="tls",
    ),
    _Meaning(("tls handshake timeout",), SourceUnreachable, hint=_KEPT, cause="line"),
    _Meaning(
        ("x509", "tls:"),
        SourceUnreachable,
        "pulling {model}: the Ollama server does not trust what answers as {host}: {text}",
        "where a proxy opens TLS, add its CA to the trust store of the server's host, or set "
        "SSL_CERT_FILE for the server (systemd: `systemctl edit ollama`), and restart it",
        cause="tls",
    ),
    _Meaning(
        ("invalid character", "looking for beginning of value"),
        SourceUnreachable,
        "pulling {model}: what answers is no registry, perhaps the login page of a network: {text}",
        "open any page in a browser on the server's host, or name another registry",
        cause="portal",
    ),
    _Meaning(
        ("connection refused", "network is unreachable", "no route to host"),
        SourceUnreachable,
        hint="check the address and the network of the server's host, or name another registry",
        cause="refused",
    ),
    _Meaning(
        ("manifest: 500", "manifest: 502", "manifest: 504"), SourceUnreachable, cause="gateway"
    ),
    _Meaning(
        (
            "max retries exceeded", "connection reset", "broken pipe", "i/o timeout",
            "deadline exceeded", "client.timeout", "connection timed out", "eof",
        ),
        SourceUnreachable,
        hint=_KEPT,
        cause="line",
    ),
)  # fmt: skip


def load_failure(model: str, text: str) -> DeployError:
    """Return what an error of a load or a generation means."""
    refused = _Meaning((), ServerRefused, "the server refused {model}: {text}")
    return _meant(_LOAD, model, text, otherwise=refused)


def pull_failure(model: str, text: str) -> DeployError:
    """Return what an error inside a pull stream means; these carry no status code.

    Its details say the `cause` in one word: "line" is a connection that broke, "busy" a registry
    that asks to come back later.
    """
    return _meant(_PULL, model, _SIGNATURE.sub("?…", text), otherwise=_Meaning((), PullFailed))


def write_failure(name: str, text: str) -> DeployError:
    """Return what an error of a create or a copy means."""
    full = _Meaning(
        ("no space left", "disk quota"), DiskFull, "no room to write {model} into the store: {text}"
    )
    return _meant((full,), name, text, otherwise=_Meaning((), ServerRefused, "{text}"))


def _meant(table: Sequence[_Meaning], model: str, text: str, *, otherwise: _Meaning) -> DeployError:
    lower = text.lower()
    found = next((m for m in table if any(sign in lower for sign in m.signs)), otherwise)
    words = {"model": model, "text": text, "host": _host(text)}
    failure = found.kind(found.said.format(**words), hint=found.hint and found.hint.format(**words))
    if found.cause:
        failure.details["cause"] = found.cause
    return failure


def _host(text: str) -> str:
    """Return the host that failed: the name that was looked up, else the one that was asked."""
    found = _LOOKED_UP.search(text) or _ASKED.search(text)
    return found[1].rpartition("@")[2] if found else "the registry"
