"""Every byte is what its digest says: files in the store that are not are fetched again.

A pull hashes what it has fetched, and trusts what lay there before.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from orchestrator import log
from orchestrator.errors import PullFailed
from orchestrator.progress import Progress
from orchestrator.source import Pulled
from orchestrator.store import Damage, Layer, Store


def layers(store: Store, tag: str, among: Iterable[str] | None = None) -> list[Layer]:
    """Return the layers of a name in the store, of the digests `among` where those are given."""
    manifest, wanted = store.manifest(tag), None if among is None else set(among)
    found = manifest.layers if manifest else ()
    return [each for each in found if wanted is None or each.digest in wanted]


def mend(
    store: Store,
    tag: str,
    suspects: Sequence[Layer],
    fetch: Callable[[], Pulled],
    progress: Progress,
) -> list[Layer]:
    """Hash the files of suspects and fetch again what is damaged; return what was hashed.

    Nothing is hashed where a file is not ours to read, and that is said. Raises PullFailed: it is
    damaged where we may not write; and what `fetch` raises.
    """
    damaged = _damage(store, tag, suspects, progress)
    if damaged is None:
        return []
    if damaged:
        _replace(store, tag, damaged, fetch, progress)
    return list(suspects)


def undo_mend(store: Store | None, tag: str) -> None:
    """Put back what a mend of that name, killed in the middle, had set aside."""
    if store and store.writable:
        with suppress(OSError):  # a file that nobody takes for a model
            store.bring_back(each.digest for each in layers(store, tag))


def _damage(
    store: Store, tag: str, suspects: Iterable[Layer], progress: Progress
) -> list[Damage] | None:
    def tick(digest: str, done: int, total: int) -> None:
        progress.advance(f"verify {tag} {digest[7:19]}", done, total)

    with log.stage("store.verify", tag=tag):
        try:
            return store.damage(suspects, tick)
        except OSError as e:
            progress.say(f"warning: {tag} is not verified: {e.filename}: {e.strerror}")
            return None


def _replace(
    store: Store,
    tag: str,
    damaged: Sequence[Damage],
    fetch: Callable[[], Pulled],
    progress: Progress,
) -> None:
    """Remove damaged blobs and fetch them again: a pull trusts whatever lies in the store."""
    for each in damaged:
        log.event("blob.damaged", digest=each.digest, what=each.what)
        progress.say(f"{tag} is damaged in the store: {each.digest} {each.detail}")
    present = [each for each in damaged if each.what != "missing"]  # those the server fetches
    if present and not store.writable:
        paths = " ".join(str(each.path) for each in present)
        raise PullFailed(
            f"{tag} is damaged in the store {store.path}, where we may not write",
            hint=f"as the server's user: rm {paths}; then the same command again",
        )
    for each in present:
        store.set_aside(each.digest)
    try:
        fetch()
    finally:
        if present:  # a damaged file may still serve; no file serves nobody
            store.bring_back(each.digest for each in present)
