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
from orchestrator.source.manifest import Blob, Files
from orchestrator.source.missing import Missing, missing
from orchestrator.source.registry import Registry
from orchestrator.store import Store
from orchestrator.units import gb, gib

_SPARE_BYTES = 64 * 1024**2
"""Beside the files: manifests, the notes of a download, blocks that are not filled."""

_WORTH_SAYING = 0.02  # of a whole; licences and templates are shared by many models
_SIZE_SLACK = 0.05  # the library's page rounds sizes, and the weights are nearly all of a model


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

    def long_names(self, tag: str) -> tuple[str, ...]:
        """See Renaming.long_names."""
        return self.source.long_names(tag)

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
            progress.say(f"pulling {tag} from {self._where(tag)}")
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
            host=self._where(tag),
            files=len(files.every),
            total_bytes=lacks.total_bytes,
            present_bytes=lacks.present_bytes,
            download_bytes=lacks.line_bytes,
            needed_bytes={folder: _needed(lacks)} if folder else {},
            notes=() if folder else ("the server's store is not in sight: what it has is unknown",),
        )

    def _where(self, tag: str) -> str:
        """Return where a tag comes from: a name may carry its own registry."""
        named, plain = ModelRef.parse(tag).host, ModelRef("any").host
        return self.address if named == plain else named

    def _files(self, tag: str) -> Files | None:
        with suppress(PullFailed):  # the server may reach what we do not: its pull will say
            return self.source.registered(tag)
        return None

    def _listed(self, tag: str) -> Missing | None:
        """Return what the catalogue lets expect, less what the server has of it already."""
        try:
            listed = self.catalog.find(tag)
        except UnknownModel:
            return None
        whole, store = listed.file_bytes, Store.at(self.store_path)
        if store is None:
            return _nothing_there(whole)
        if listed.digest:
            blob = Blob(digest=listed.digest, size_bytes=whole)
            if (lacks := missing(store, [blob])).disk_bytes < whole:
                return lacks
        # Few digests are known: a download that was broken off, and a name, are told otherwise.
        there = whole if store.manifest(self.final(tag)) else _held(store, whole)
        return Missing(total_bytes=whole, disk_bytes=whole - there, line_bytes=whole - there)

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
        if 0 < lacks.line_bytes < lacks.total_bytes * (1 - _WORTH_SAYING):
            of = f"{gb(lacks.line_bytes)} of {of}, the rest is here"
        progress.say(f"pulling {tag} ({of}) from {self._where(tag)}")


def _held(store: Store, whole_bytes: int) -> int:
    """Return what is there of an interrupted download of about that size."""
    slack = whole_bytes * _SIZE_SLACK
    near = (held for size, held in store.partials() if abs(size - whole_bytes) <= slack)
    return min(max(near, default=0), whole_bytes)


def _nothing_there(size_bytes: int) -> Missing:
    return Missing(total_bytes=size_bytes, disk_bytes=size_bytes, line_bytes=size_bytes)


def _needed(lacks: Missing) -> int:
    return lacks.disk_bytes + _SPARE_BYTES if lacks.disk_bytes else 0
