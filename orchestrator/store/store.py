"""One model store: the folder that OLLAMA_MODELS names."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.store import staging, tree
from orchestrator.store.damage import Damage, damage
from orchestrator.store.manifest import Layer, Manifest, Torn, blob_name
from orchestrator.store.name import Name
from orchestrator.store.sweep import Swept, named, remove_temporary, sweep

_ASIDE = "deploy-aside-"


@dataclass(frozen=True, slots=True)
class Store:
    """The manifests and the blobs below one folder; names are written as the server's API has them.

    Every method looks at the disk anew: the server changes it at any time.
    """

    path: Path

    @classmethod
    def at(cls, path: str | None) -> Self | None:
        """Return the store in that folder; None: unknown, absent, or not ours to read.

        Of a later server's second folder of manifests, which goes before the first, we know
        nothing: then the server's API is the only way to the names.
        """
        if not path:
            return None
        store = cls(Path(path))
        present = (each for each in store._folders if os.access(each, os.F_OK))
        readable = all(os.access(each, os.R_OK | os.X_OK) for each in (store.path, *present))
        known = readable and store.path.is_dir() and not (store.path / "manifests-v2").exists()
        return store if known else None

    @property
    def writable(self) -> bool:
        """Whether we may stage a manifest, rename it into its place, and remove blobs."""
        folders = (each for each in self._folders if os.access(each, os.F_OK))
        return all(os.access(each, os.W_OK | os.X_OK) for each in (self.path, *folders))

    def manifest(self, name: str) -> Manifest | None:
        """Return what that name stands for; None: absent or torn."""
        try:
            return Manifest.read(self._file(name))
        except (OSError, LookupError, ValueError):
            return None

    def torn(self) -> list[str]:
        """Return the names whose manifest file the server cannot read, because it is no JSON."""
        return sorted(name for name, manifest in self._all() if manifest is None)

    def names(self) -> dict[str, Manifest]:
        """Return every whole manifest by the name that /api/tags shows."""
        return {name: manifest for name, manifest in self._all() if manifest is not None}

    def named(self) -> frozenset[str] | None:
        """Return the file names of all blobs that a manifest names.

        None: not known, for a manifest cannot be read, or has a form that is not known.
        """
        return named(self.path)

    def point(self, alias: str, target: str) -> None:
        """Let `alias` name what `target` names, in one step that no reader sees half done.

        Raises LookupError: the target is absent or torn. OSError: not ours to write, disk full.
        """
        manifest, source = self.manifest(target), self._file(target)
        if manifest is None:
            raise LookupError(f"the store {self.path} has no whole manifest of {target}")
        place = self._file(alias)
        staging.replace(place, manifest.raw, like=source, store=self.path)

    @classmethod
    def made(cls, path: Path) -> Self:
        """Return the store in that folder, made where it is absent, owned as what it lies in is.

        Raises OSError.
        """
        parent = next(each for each in (path, *path.parents) if each.exists())
        store, owner = cls(path), parent.stat()
        for folder in (path, *store._folders):
            staging.make_folders(folder, owner)
        return store

    def receive(self, digest: str, chunks: Iterable[bytes]) -> None:
        """Put a blob in its place in one step; who gives the chunks answers for their sha256.

        Raises OSError: not ours to write, disk full; ValueError: no digest; what the chunks raise.
        """
        place = self.blob(digest)
        staging.receive(place, chunks, like=self._blobs, store=self.path)

    def adopt(self, name: str, raw: bytes) -> None:
        """Let `name` have the manifest `raw`, whose blobs are there, in one step.

        Raises LookupError: no name of a model. OSError: not ours to write, disk full.
        """
        staging.replace(self._file(name), raw, like=self._blobs, store=self.path)

    def discard(self, name: str) -> None:
        """Remove a manifest file, and the folders that it leaves empty; nothing if absent.

        The API cannot delete a torn one. Blobs stay. Raises OSError, LookupError: no name.
        """
        path = self._file(name)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # the first that is not empty
            for folder in path.relative_to(self._manifests).parents[:-1]:
                (self._manifests / folder).rmdir()

    def blob(self, digest: str) -> Path:
        """Return where the blob "sha256:…" lies or would lie. Raises ValueError: no digest."""
        return self._blobs / blob_name(digest)

    def damage(
        self, layers: Iterable[Layer], tick: Callable[[str, int, int], None]
    ) -> list[Damage]:
        """Return what is wrong with the files of those layers: each is read and hashed.

        `tick` hears the digest, and how many bytes of that blob are read, of how many.
        Raises OSError: a file is there, and we cannot read it.
        """
        return damage(self._blobs, layers, tick)

    def set_aside(self, digest: str) -> None:
        """Move one blob out of the server's sight; nothing if absent.

        Raises OSError, ValueError: no digest.
        """
        with suppress(FileNotFoundError):
            self.blob(digest).replace(self.path / f"{_ASIDE}{blob_name(digest)}")

    def bring_back(self, digests: Iterable[str] | None = None) -> None:
        """Put back what was set aside and has no successor yet; remove what has.

        Of these digests alone, if given: another process may be at others. Raises OSError.
        """
        names = None if digests is None else {blob_name(digest) for digest in digests}
        for path in self.path.glob(f"{_ASIDE}*"):
            if names is not None and path.name.removeprefix(_ASIDE) not in names:
                continue
            place = self._blobs / path.name.removeprefix(_ASIDE)
            if place.exists():
                path.unlink()
            else:
                path.replace(place)

    def partials(self) -> tuple[tuple[int, int], ...]:
        """Return the interrupted downloads: the bytes of the whole blob, and those on disk.

        The server makes the file as long as the blob at once; what it holds are its blocks.
        """
        found = []
        for path in self._blobs.glob("sha256-*-partial"):
            with suppress(OSError):
                told = path.stat()
                found.append((told.st_size, told.st_blocks * 512))
        return tuple(found)

    def staged(self) -> list[Path]:
        """Return what killed moves left in the store's folder."""
        return staging.staged(self.path)

    def remove_staged(self) -> None:
        """Remove what killed moves left; not what one writes at this moment. Raises OSError."""
        for path in self.staged():
            if not staging.in_use(path):
                path.unlink(missing_ok=True)

    def remove_temporary(self) -> Swept:
        """Remove what creates and uploads left whose server is gone; only where none runs yet."""
        return remove_temporary(self.path)

    def sweep(self, *, now_s: float, server_pid: int | None) -> Swept:
        """Remove from blobs/ what no manifest names; `now_s` is the time since the epoch.

        Blobs and temporary files of a create go after one hour, a partial download, which a pull
        would resume, after a day. Nothing goes while a manifest cannot be read, because what it
        names is not known, or while a pull or a create goes on.
        """
        return sweep(self.path, now_s=now_s, server_pid=server_pid)

    @property
    def _manifests(self) -> Path:
        return self.path / "manifests"

    @property
    def _blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def _folders(self) -> tuple[Path, Path]:
        return self._manifests, self._blobs

    def _file(self, name: str) -> Path:
        return tree.locate(self._manifests, Name.parse(name))

    def _all(self) -> Iterable[tuple[str, Manifest | None]]:
        """Yield the names with their manifests, None for torn ones."""
        for path in tree.files(self._manifests):
            # Vanished, not ours to read, or of a form that we do not know: no reason to touch it.
            with suppress(OSError, LookupError, ValueError):
                name = Name.of_file(path).short
                try:
                    yield name, Manifest.read(path)
                except Torn:
                    yield name, None
