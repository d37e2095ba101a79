"""Blobs that are not what their digest says."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.store.manifest import Layer, blob_name

Tick = Callable[[str, int, int], None]
_CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """A blob that is not what a manifest names; `detail` is a part of a sentence with numbers."""

    digest: str
    path: Path
    what: Literal["missing", "size", "content"]
    detail: str


def damage(blobs: Path, layers: Iterable[Layer], tick: Tick) -> list[Damage]:
    """Return what is wrong with the files of those layers, each file looked at once.

    `tick` hears the digest, and how many bytes of that blob are read, of how many.
    Raises OSError: a file is there, and we cannot read it.
    """
    once = {layer.digest: layer for layer in layers}
    found = (_damage(blobs / blob_name(digest), each, tick) for digest, each in once.items())
    return [each for each in found if each is not None]


def _damage(path: Path, layer: Layer, tick: Tick) -> Damage | None:
    if not path.is_file():
        return Damage(digest=layer.digest, path=path, what="missing", detail="is missing")
    size_bytes = path.stat().st_size
    if size_bytes != layer.size_bytes:
        detail = f"has {size_bytes} bytes instead of {layer.size_bytes}"
        return Damage(digest=layer.digest, path=path, what="size", detail=detail)
    real = _sha256(path, layer, tick)
    if blob_name(layer.digest) != f"sha256-{real}":
        detail = f"has {size_bytes} bytes with the sha256 {real[:12]} instead of its own"
        return Damage(digest=layer.digest, path=path, what="content", detail=detail)
    return None


def _sha256(path: Path, layer: Layer, tick: Tick) -> str:
    """Read a file to its end; blobs of 400 GB must not pass through memory at once."""
    digest, done_bytes = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            done_bytes += count
            tick(layer.digest, done_bytes, layer.size_bytes)
    return digest.hexdigest()
