"""What one manifest file says, read as the server reads it."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_FIRST_READ_BYTES = 512
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


class Torn(ValueError):
    """An empty file, bytes that are no JSON object: the server cannot read it either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One blob that a manifest names; the config counts as one."""

    digest: str
    media_type: str
    size_bytes: int

    @property
    def kind(self) -> str:
        """What the blob is for: model, template, params, license, config."""
        if self.media_type.startswith("application/vnd.docker.container.image"):
            return "config"
        return self.media_type.rpartition(".")[2]

    def to_json(self) -> dict[str, Any]:
        """Return the layer as a document has it."""
        return {
            "digest": self.digest,
            "media_type": self.media_type,
            "size_bytes": self.size_bytes,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A manifest, whole: its bytes and the layers that they name, the config last."""

    raw: bytes
    layers: tuple[Layer, ...]

    @property
    def digest(self) -> str:
        """The sha256 of the file in hex, as /api/tags shows it.

        The server hashes what its JSON decoder has read when the object ends: buffers of 512,
        1536, 3584 bytes and so on. Where one ends with the object, the last newline is left out.
        """
        object_bytes, read_bytes = len(self.raw.rstrip()), _FIRST_READ_BYTES
        while read_bytes < object_bytes:
            read_bytes = 2 * read_bytes + _FIRST_READ_BYTES
        return hashlib.sha256(self.raw[:read_bytes]).hexdigest()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest file. Raises OSError, and what `parse` raises."""
        try:
            return cls.parse(path.read_bytes())
        except FileNotFoundError as e:
            if path.is_symlink():  # one of these is enough, and 0.9.3 lists no model at all
                raise Torn("a link to nothing") from e
            raise

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read the bytes of a manifest file.

        Raises Torn. ValueError: JSON, but not in the form of a manifest that we know.
        """
        return cls(raw=raw, layers=tuple(_layers(_document(raw))))


def blob_name(digest: str) -> str:
    """Return the file name of a blob. Raises ValueError: not "sha256:" and 64 hex digits."""
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise ValueError(f"{digest!r} is no digest of a blob")
    return f"sha256-{found[1]}"


def _document(raw: bytes) -> dict[str, Any]:
    text = raw.decode("utf-8", "replace").lstrip()
    try:
        # The server decodes the first value and ignores what follows it, so we do not call a
        # model torn that it serves.
        document, _ = json.JSONDecoder().raw_decode(text)
    except ValueError as e:
        raise Torn("no JSON") from e
    if not isinstance(document, dict):
        raise Torn("no JSON object")
    return document


def _layers(document: dict[str, Any]) -> Iterator[Layer]:
    if document.get("manifests"):
        raise ValueError("a list of manifests")
    config = document.get("config")
    try:
        # A create that ended badly leaves null for "no layers", and a config without a digest.
        for each in (*(document.get("layers") or ()), *([config] if config else ())):
            if each["digest"]:
                blob_name(each["digest"])
                yield Layer(
                    digest=each["digest"],
                    media_type=each["mediaType"],
                    size_bytes=int(each["size"]),
                )
    except (KeyError, TypeError) as e:
        raise ValueError(f"a layer without {e}") from e
