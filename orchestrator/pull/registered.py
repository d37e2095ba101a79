"""A registry's model as the server would fetch it: its files against what the store has of them."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.catalog import Catalog
from orchestrator.errors import DiskFull, PullFailed, UnknownModel
from orchestrator.model import ModelRef
from orchestrator.progress import Progress
from orchestrator.runtime import disk
from orchestrator.source import Pulled
from orchestrator.source.hosted import Hosted
from orchestrator.source.intent import Intent
from orchestrator.source.manifest import Files
from orchestrator.source.missing import Missing, missing
from orchestrator.source.registry import Registry
from orchestrator.store import Store
from orchestrator.units import gb, gib

_SPARE_BYTES = 64 * 1024**2
"""Beside the files: manifests, the notes of a download, blocks that are not filled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A source that the server fetches from, with its disk looked at before a byte moves.

    `store_path` is where the server's files lie, None where nobody knows; `catalog` says how large
    a model is that our own network does not reach.
    """

    source: Registry | Hosted
    store_path: str | None
    catalog: Catalog

    @property
    def name(self) -> str:
        """What a profile calls it."""
        return self.source.name

    @property
    def address(self) -> str:
        """Where it is."""
        return self.source.address

    def name_of(self, tag: str) -> str:
        """See Source.name_of."""
        return self.source.name_of(tag)

    def final(self, tag: str) -> str:
        """See Source.final: the tag itself."""
        return str(ModelRef.parse(tag))

    def pull(self, tag: str, progress: Progress) -> Pulled:
        """See Source.pull. Raises DiskFull, before anything moves, where that can be told."""
        files = self._files(tag)
        lacks = self._missing(files) if files else self._listed(tag)
        if lacks:
            self._check(tag, lacks, progress)
        else:
            progress.say(f"pulling {tag} from {self.address}")
        pulled = self.source.pull(tag, progress)
        if files and lacks and Store.at(self.store_path):
            # A fast server tells too rarely how far it is to count what moves by that.
            return replace(pulled, fetched_bytes=lacks.line_bytes)
        return pulled

    def intent(self, tag: str) -> Intent:
        """Return what a pull would do. Raises PullFailed: the registry does not say."""
        files = self.source.registered(tag)
        lacks = self._missing(files)
        folder = self.store_path
        return Intent(
            source=self.name,
            name=self.final(tag),
            host=self.address,
            files=len(files.every),
            total_bytes=lacks.total_bytes,
            present_bytes=lacks.present_bytes,
            download_bytes=lacks.line_bytes,
            needed_bytes={folder: _needed(lacks)} if folder else {},
            notes=() if folder else ("the server's store is not in sight: what it has is unknown",),
        )

    def _files(self, tag: str) -> Files | None:
        with suppress(PullFailed):  # the server may reach what we do not: its pull will say
            return self.source.registered(tag)
        return None

    def _listed(self, tag: str) -> Missing | None:
        with suppress(UnknownModel):
            return _nothing_there(self.catalog.find(tag).file_bytes)
        return None

    def _missing(self, files: Files) -> Missing:
        store = Store.at(self.store_path)
        return missing(store, files.every) if store else _nothing_there(files.total_bytes)

    def _check(self, tag: str, lacks: Missing, progress: Progress) -> None:
        need = _needed(lacks)
        free = disk.free_bytes(Path(self.store_path)) if self.store_path else None
        if free is not None and free < need:
            raise DiskFull(
                f"pulling {tag} needs {gib(need)} at {self.store_path}; {gib(free)} is free",
                needed_bytes=need,
                free_bytes=free,
            )
        of = gb(lacks.total_bytes)
        if lacks.present_bytes:
            of = f"{gb(lacks.line_bytes)} of {of}, the rest is here"
        progress.say(f"pulling {tag} ({of}) from {self.address}")


def _nothing_there(size_bytes: int) -> Missing:
    return Missing(total_bytes=size_bytes, disk_bytes=size_bytes, line_bytes=size_bytes)


def _needed(lacks: Missing) -> int:
    return lacks.disk_bytes + _SPARE_BYTES if lacks.disk_bytes else 0
