"""What the server says of files that it cannot make a model of (verified on 0.9.3)."""

from typing import NamedTuple

from orchestrator.errors import (
    DeployError,
    DiskFull,
    InvalidInput,
    PullFailed,
    ServerRefused,
    SourceCorrupt,
)

_GGUF = "name a GGUF repository of the same model: hf:ORG/REPO"
_AGAIN = "fetch the files again: repeat the same command"
_DAMAGED = 400


class _Meaning(NamedTuple):
    """What one of `signs` in a lower-cased text means; `said` is told of {model} and {text}."""

    signs: tuple[str, ...]
    kind: type[DeployError]
    said: str
    hint: str | None = None


# In this order: "no such file" stands inside of texts that say more.
_CREATE = (
    _Meaning(
        ("no space left", "disk quota"),
        DiskFull,
        "the disk of the model store became full while the server made {model}: {text}",
    ),
    _Meaning(
        ("unknown tokenizer format", "open tokenizer"),
        InvalidInput,
        "{model}: there is no tokenizer.json that the server can read ({text})",
        _GGUF,
    ),
    _Meaning(
        ("open config.json",), InvalidInput, "{model}: there is no config.json ({text})", _GGUF
    ),
    _Meaning(
        ("unsupported architecture", "unknown architecture"),
        InvalidInput,
        "this server does not import the architecture of {model}: {text}",
        _GGUF,
    ),
    _Meaning(
        ("unsupported quantization", "quantization is only supported"),
        InvalidInput,
        "the server does not quantize {model} that way: {text}",
        "choose another with --quantize, or files in F16, BF16 or F32",
    ),
    _Meaning(
        ("unknown type",),
        InvalidInput,
        "{model}: neither safetensors nor a GGUF is among the files",
        "name a repository with one of these",
    ),
    _Meaning(
        ("eof", "not in gguf format"),
        SourceCorrupt,
        "a file of {model} is cut off or damaged: {text}",
        _AGAIN,
    ),
    _Meaning(("invalid model name",), InvalidInput, "the server takes no model name {model}"),
    _Meaning(
        ("no such file",),
        ServerRefused,
        "the server lost a file of {model} that was uploaded to it: {text}",
        "repeat the same command; a restart of the server takes such files away",
    ),
)


def create_failure(model: str, text: str) -> DeployError:
    """Return what an error of a create from files means; these carry no status code."""
    lower = text.lower()
    for signs, kind, said, hint in _CREATE:
        if any(sign in lower for sign in signs):
            return kind(said.format(model=model, text=text), hint=hint)
    return ServerRefused(f"the server could not make {model}: {text}")


def upload_failure(file: str, status: int, text: str) -> DeployError:
    """Return what the refusal of an uploaded file means."""
    lower = text.lower()
    if "no space left" in lower or "disk quota" in lower:
        return DiskFull(f"the disk of the model store is full at the upload of {file}: {text}")
    if status == _DAMAGED and "digest mismatch" in lower:
        what = f"{file} is not what its digest says: it is damaged, or changed meanwhile"
        return SourceCorrupt(what, hint=_AGAIN)
    return PullFailed(
        f"the server does not take {file}: {status}: {text}",
        hint=ServerRefused.remedy,
    )
