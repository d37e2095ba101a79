"""What a registry says of a model: the files that its manifest names, read over HTTP."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from orchestrator.errors import SourceUnreachable
from orchestrator.model import ModelRef
from orchestrator.runtime.address import is_loopback
from orchestrator.source.remote import PATIENT, Patience, Remote

_ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MODEL, _TENSOR = "application/vnd.ollama.image.model", "application/vnd.ollama.image.tensor"
_PROJECTOR = "application/vnd.ollama.image.projector"
_MOST_BYTES = 2**50


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """One file of a model; `digest` is "sha256:…"."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The files of one manifest by kind: `model` are GGUF, `tensors` those of MLX models.

    `every` are all that a pull fetches, the config too.
    """

    model: tuple[Blob, ...]
    tensors: tuple[Blob, ...] = ()
    projectors: tuple[Blob, ...] = ()
    every: tuple[Blob, ...] = ()

    @classmethod
    def of(cls, document: object) -> Self:
        """Read a manifest. Raises ValueError: what was read is none."""
        if not isinstance(document, Mapping):
            raise ValueError("no object")  # noqa: TRY004 - the manifest is wrong, not the program
        found = list(_blobs(document.get("layers")))
        return cls(
            model=tuple(blob for kind, blob in found if kind == _MODEL),
            tensors=tuple(blob for kind, blob in found if kind == _TENSOR),
            projectors=tuple(blob for kind, blob in found if kind == _PROJECTOR),
            every=tuple(dict.fromkeys(blob for _, blob in [*found, *_config(document)])),
        )

    @property
    def total_bytes(self) -> int:
        """The size of all files together: what a pull into an empty store moves."""
        return sum(blob.size_bytes for blob in self.every)

    @property
    def weights(self) -> tuple[Blob, ...]:
        """What holds the weights."""
        return self.model or self.tensors


def _blobs(layers: Any) -> Iterator[tuple[str, Blob]]:  # noqa: ANN401 - JSON
    if not isinstance(layers, list):
        raise ValueError("no layers")  # noqa: TRY004 - the manifest is wrong, not the program
    for each in layers:
        if not isinstance(each, Mapping):
            raise ValueError("a layer that is no object")  # noqa: TRY004
        digest, size = each.get("digest"), each.get("size")
        if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
            raise ValueError(f"a layer with digest {str(digest)[:80]!r}")
        if not (isinstance(size, int) and 0 <= size <= _MOST_BYTES):
            raise ValueError(f"a layer of size {str(size)[:40]!r}")
        yield str(each.get("mediaType")), Blob(digest=digest, size_bytes=size)


def _config(document: Mapping[str, Any]) -> list[tuple[str, Blob]]:
    """Return the config as one more layer, where there is a whole one."""
    try:
        return list(_blobs([document.get("config")]))
    except ValueError:
        return []


def connect(host: str, *, insecure: bool, patience: Patience = PATIENT) -> Remote:
    """Return the registry at `host`. Plain http where that is wished, and on loopback."""
    plain = insecure or is_loopback(f"http://{host}")
    return Remote(
        host,
        f"{'http' if plain else 'https'}://{host}",
        login="only public models are read; `ollama pull` signs in with the server's key",
        patience=patience,
    )


def read_manifest(registry: Remote, name: ModelRef) -> Files:
    """Return the files of a model.

    Raises ModelUnavailable, SourceBusy, SourceUnreachable: also where what answers is no registry.
    """
    path = f"/v2/{name.namespace}/{name.name}/manifests/{name.tag}"
    document = registry.document(path, str(name), accept=_ACCEPT)
    try:
        return Files.of(document)
    except ValueError as e:
        raise SourceUnreachable(
            f"{registry.name} answers {name} with {e}, which is no manifest of a model",
            hint="name the address of a registry",
        ) from e


def blob_path(name: ModelRef, blob: Blob) -> str:
    """Return where a file of that model lies."""
    return f"/v2/{name.namespace}/{name.name}/blobs/{blob.digest}"
