"""Import by the store's files: blobs first, the manifest last; a server sees the model at once.

The model has the very digest that it had where it came from. Everything is owned by whoever owns
the store, so that a server of another user can read it, replace it and remove it.
"""

from collections.abc import Iterator
from pathlib import Path

from orchestrator.bundle import room
from orchestrator.bundle.archive import Archive
from orchestrator.bundle.index import BundledModel
from orchestrator.bundle.outcome import Loaded
from orchestrator.errors import InvalidInput, PullFailed
from orchestrator.progress import Progress
from orchestrator.store import Layer, Manifest, Store


def missing_bytes(models: tuple[BundledModel, ...], folder: Path) -> int:
    """Return what must be written, by the sizes of what is there; damage is found later."""
    store, once = Store(folder), {layer.digest: layer for m in models for layer in m.layers}
    return sum(layer.size_bytes for layer in once.values() if not _there(store, layer))


def load(
    archive: Archive,
    models: tuple[BundledModel, ...],
    folder: Path,
    progress: Progress,
    *,
    force: bool,
) -> list[Loaded]:
    """Put the models into the store in that folder, which is made if it is absent.

    What is there with its size is hashed and, if damaged, written anew. Raises InvalidInput: a name
    stands for another model and not `force`, nothing is written then; SourceCorrupt, DiskFull,
    PullFailed.
    """
    manifests = [archive.manifest(model) for model in models]
    for model, manifest in zip(models, manifests, strict=True):
        _refuse_other(Store(folder), model, manifest, force=force)
    needed = missing_bytes(models, folder)
    room.check(folder, needed)
    with room.mapped(folder, needed, PullFailed):
        store = Store.made(folder)
        store.remove_staged()  # of killed runs: the lock is ours
        return [
            _one(archive, model, manifest, store, progress)
            for model, manifest in zip(models, manifests, strict=True)
        ]


def _refuse_other(store: Store, model: BundledModel, manifest: Manifest, *, force: bool) -> None:
    present = store.manifest(model.name)
    if force or present is None or present.raw == manifest.raw:
        return
    raise other(model, present.digest)


def other(model: BundledModel, digest: str) -> InvalidInput:
    """Return the error for a name that stands for another model here."""
    return InvalidInput(
        f"{model.name} is another model here (digest {digest[:12]}) than in the bundle "
        f"({model.digest[:12]}); it was left as it is",
        hint="add --force to replace it, or give it another name: `ollama cp`",
        name=model.name,
    )


def _one(
    archive: Archive, model: BundledModel, manifest: Manifest, store: Store, progress: Progress
) -> Loaded:
    written = checked = 0
    for layer in {layer.digest: layer for layer in model.layers}.values():
        if _whole(store, layer, progress):
            checked += layer.size_bytes
            continue
        store.receive(layer.digest, _shown(archive, layer, progress))
        written += layer.size_bytes
    present = store.manifest(model.name)
    if present is None or present.raw != manifest.raw:
        store.adopt(model.name, manifest.raw)
    return Loaded(
        name=model.name, digest=model.digest, written_bytes=written, checked_bytes=checked
    )


def _there(store: Store, layer: Layer) -> bool:
    path = store.blob(layer.digest)
    try:
        return path.is_file() and path.stat().st_size == layer.size_bytes
    except OSError:
        return False


def _whole(store: Store, layer: Layer, progress: Progress) -> bool:
    if not _there(store, layer):
        return False

    def tick(digest: str, done: int, total: int) -> None:
        progress.advance(f"check {digest[7:19]}", done, total)

    return not store.damage([layer], tick)


def _shown(archive: Archive, layer: Layer, progress: Progress) -> Iterator[bytes]:
    done = 0
    for chunk in archive.chunks(archive.blob(layer)):
        done += len(chunk)
        yield chunk
        progress.advance(f"load {layer.digest[7:19]}", done, layer.size_bytes)
