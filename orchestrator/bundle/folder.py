"""The source `bundle`: a folder of bundle files, or one of them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator import log
from orchestrator.bundle import into_store, through_api
from orchestrator.bundle.archive import opened, peek
from orchestrator.bundle.index import BundledModel
from orchestrator.bundle.place import Place
from orchestrator.errors import InvalidInput, ModelUnavailable, SourceCorrupt, SourceUnreachable
from orchestrator.probe.server import read_process
from orchestrator.progress import Progress
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.intent import Intent
from orchestrator.store import Store
from orchestrator.store.name import Name
from orchestrator.units import gb

_MAKE = "make one where the model is: `deploy bundle create {tag} -o FILE`, and put it there"


class Bundles:
    """Finds the bundle that has a tag by the indexes of all, and loads that one model.

    `folder` may be one file too. A tag may be the path of a bundle that holds one model.
    """

    name = "bundle"

    def __init__(self, folder: Path, server: Server, store_path: str | None) -> None:
        self.folder = folder
        self.server = server
        self.store_path = store_path

    @property
    def address(self) -> str:
        """See Source.address."""
        return str(self.folder)

    def name_of(self, tag: str) -> str:
        """See Source.name_of: the server gets it under its final name at once."""
        return self.final(tag)

    def final(self, tag: str) -> str:
        """See Source.final. Raises InvalidInput: no name of a model, nor a bundle of one."""
        if Path(tag).is_file():
            return _only(Path(tag)).name
        try:
            return Name.parse(tag).short
        except LookupError as e:
            raise InvalidInput(str(e), hint="name a model of the bundle, or its file") from e

    def intent(self, tag: str) -> Intent:
        """Return what a pull would do. Raises what `pull` raises before a byte moves."""
        path, model = self._found(tag)
        store = Store.at(self.store_path)
        once = {layer.digest: layer for layer in model.layers}.values()
        present = [layer for layer in once if store and store.blob(layer.digest).is_file()]
        present_bytes = sum(layer.size_bytes for layer in present)
        missing = model.size_bytes - present_bytes
        return Intent(
            source=self.name,
            name=model.name,
            host=str(path),
            files=len(once),
            total_bytes=model.size_bytes,
            present_bytes=present_bytes,
            download_bytes=missing,
            needed_bytes={self.store_path: missing} if self.store_path and missing else {},
        )

    def pull(self, tag: str, progress: Progress) -> Pulled:
        """See Source.pull. What has the name is replaced, as by a pull from a registry."""
        path, model = self._found(tag)
        progress.say(f"loading {model.name} ({gb(model.size_bytes)}) from {path}")
        place = Place.of(self.server, self.store_path, read_process(self.server.host))
        with log.stage("bundle.load", file=str(path)), opened(path) as archive:
            if writes := place.to_write():
                done = into_store.load(archive, (model,), writes, progress, force=True)
                place.confirm({model.name: model.digest})
            else:
                done = through_api.load(archive, (model,), place, progress, force=True)
        # What was there was hashed on the way, so nobody need do it again.
        return Pulled(fetched_bytes=sum(each.written_bytes for each in done))

    def _found(self, tag: str) -> tuple[Path, BundledModel]:
        """Return the newest bundle that has it. Raises ModelUnavailable, SourceUnreachable."""
        if Path(tag).is_file():
            return Path(tag), _only(Path(tag))
        wanted = self.final(tag).lower()
        for path in self._files():
            with suppress(InvalidInput, SourceCorrupt):  # another's file is no reason to fail
                for model in peek(path).models:
                    if model.name.lower() == wanted:
                        return path, model
        raise ModelUnavailable(f"no bundle in {self.folder} has {tag}", hint=_MAKE.format(tag=tag))

    def _files(self) -> Iterator[Path]:
        """Yield the files, the newest first."""
        try:
            if self.folder.is_file():
                yield self.folder
                return
            found = [path for path in self.folder.iterdir() if path.is_file()]
        except OSError as e:
            raise SourceUnreachable(
                f"cannot read the folder of bundles {self.folder}: {e.strerror or e}",
                hint="set `bundles` of the profile to a folder that can be read",
            ) from e
        whole = [path for path in found if path.suffix != ".part"]
        yield from sorted(whole, key=lambda path: (-path.stat().st_mtime, path.name))


def _only(path: Path) -> BundledModel:
    index = peek(path)
    if len(index.models) != 1:
        names = ", ".join(model.name for model in index.models)
        raise InvalidInput(
            f"{path} holds {len(index.models)} models: {names}",
            hint=f"load all of them with `deploy bundle load {path}`",
        )
    return index.models[0]
