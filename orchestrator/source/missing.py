"""What a pull would still move: the files of a manifest, beside what lies in the server's store."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.model import ModelRef
from orchestrator.source.manifest import Blob, Files, connect, read_manifest
from orchestrator.source.remote import Patience

_BLOCK_BYTES = 512  # of st_blocks, on every file system
_QUICK = Patience(connect_s=3.0, read_s=5.0, whole_s=15.0, tries=2)


class Blobs(Protocol):
    """A store that says where the file of a digest lies or would lie."""

    def blob(self, digest: str) -> Path:
        """Return the path of the blob "sha256:…"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """Of all files of a model: their size, and what is not there yet, in bytes.

    `disk_bytes` is what the disk of the store must still take. `line_bytes` is what the server
    would still fetch: more than that after it was killed, because it resumes from the last part
    that it had noted, and overwrites what came after.
    """

    total_bytes: int
    disk_bytes: int
    line_bytes: int

    @property
    def present_bytes(self) -> int:
        """What a pull would not fetch again."""
        return self.total_bytes - self.line_bytes


def registered(name: ModelRef, *, insecure: bool, patience: Patience = _QUICK) -> Files:
    """Return the files that the registry has under `name`, as our own network reaches it.

    Raises ModelUnavailable, SourceBusy (`retry_after_s` in its details), SourceUnreachable.
    """
    with connect(name.host, insecure=insecure, patience=patience) as registry:
        return read_manifest(registry, name)


def missing(store: Blobs, files: Iterable[Blob]) -> Missing:
    """Return what the store lacks of these files. What cannot be read there counts as absent."""
    wanted = {each.digest: each for each in files}.values()
    lacks = [_lacks(store.blob(each.digest), each.size_bytes) for each in wanted]
    return Missing(
        total_bytes=sum(each.size_bytes for each in wanted),
        disk_bytes=sum(disk for disk, _ in lacks),
        line_bytes=sum(line for _, line in lacks),
    )


def _lacks(path: Path, size_bytes: int) -> tuple[int, int]:
    """Return what one file needs yet: of the disk, and of the line."""
    with suppress(OSError):
        if path.stat().st_size == size_bytes:
            return 0, 0
    partial = path.with_name(f"{path.name}-partial")
    with suppress(OSError):
        # The server makes the file as long as the blob at once; what it holds are its blocks.
        held = partial.stat().st_blocks * _BLOCK_BYTES
        return max(0, size_bytes - held), max(0, size_bytes - _noted_bytes(partial))
    return size_bytes, size_bytes


def _noted_bytes(partial: Path) -> int:
    """Return how far the server has noted its parts: `PARTIAL-0` and so on, one JSON each."""
    noted = 0
    for part in partial.parent.glob(f"{partial.name}-*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            noted += int(json.loads(part.read_bytes())["Completed"])
    return noted
