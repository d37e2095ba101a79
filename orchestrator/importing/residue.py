"""What an import leaves on a server, and how it goes: half-made names, uploads, temporary files.

`ollama rm` frees what a name holds. An uploaded file has no name: it stays until the server starts
anew, and under OLLAMA_NOPRUNE for ever; so does the folder that a server killed in a conversion
leaves beside blobs/.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from orchestrator.errors import ServerRefused, ServerUnreachable
from orchestrator.importing import Destination, LocalFile
from orchestrator.progress import Progress
from orchestrator.store import Store, Swept
from orchestrator.units import gb

NAMESPACE = "deploy/import"
_CONVERSIONS = "ollama-safetensors*"


def name_of(*content: str) -> str:
    """Return the name on the server of what is made from `content`, the same at each try."""
    return f"{NAMESPACE}:{hashlib.sha256(chr(0).join(content).encode()).hexdigest()[:12]}"


@contextmanager
def taken_away(
    to: Destination, names: Sequence[str], files: Sequence[LocalFile], progress: Progress
) -> Iterator[None]:
    """Take away those names and uploaded files at the end, however it ends."""
    try:
        yield
    finally:
        remove_names(to, names)
        if left_bytes := _remove_uploads(to, files):
            progress.say(
                f"{gb(left_bytes)} that were uploaded stay in the server's store, which is not "
                "ours to write: a restart of the server frees them"
            )


def remove_names(to: Destination, names: Sequence[str]) -> None:
    """Delete those models; one that is absent is no matter, a server that is gone neither."""
    for name in names:
        with suppress(ServerRefused, ServerUnreachable):
            to.server.delete(name)
    if to.store is not None and to.store.writable:
        # A full disk leaves a name with nothing in it, which the server neither lists nor deletes.
        for name in set(names) & set(to.store.torn()):
            with suppress(OSError, LookupError):
                to.store.discard(name)


def sweep(to: Destination) -> Swept:
    """Take away what killed imports left, on a server that has just started: none runs there yet.

    Names, temporary files and conversions. A blob without a name goes by the rules of Store.sweep.
    """
    found = [m.name for m in to.server.installed() if m.name.startswith(f"{NAMESPACE}:")]
    remove_names(to, found)
    if to.store is None or not to.store.writable:
        return Swept(removed=tuple(found), skipped="the server's store is not ours to write")
    swept = to.store.remove_temporary()
    removed, freed_bytes = _remove_conversions(to.store)
    return replace(
        swept,
        removed=(*found, *swept.removed, *removed),
        freed_bytes=swept.freed_bytes + freed_bytes,
    )


def _remove_uploads(to: Destination, files: Sequence[LocalFile]) -> int:
    """Remove the uploads that no model names; return how many bytes of them stay."""
    once = {file.digest: file for file in files}
    store = to.store
    if store is None:
        return sum(file.size_bytes for file in once.values())
    named, left_bytes = store.named(), 0
    for digest in once:
        blob = store.blob(digest)
        if named and blob.name in named:
            continue
        if store.writable and named is not None:
            with suppress(OSError):
                blob.unlink(missing_ok=True)
        left_bytes += blob.stat().st_size if blob.is_file() else 0
    return left_bytes


def _remove_conversions(store: Store) -> tuple[tuple[str, ...], int]:
    """Remove the folders of conversions whose server died; return their names and bytes."""
    removed, freed_bytes = [], 0
    for folder in store.path.glob(_CONVERSIONS):
        with suppress(OSError):
            files = [folder, *folder.iterdir()]
            size_bytes = sum(path.lstat().st_blocks * 512 for path in files)
            shutil.rmtree(folder)
            removed.append(folder.name)
            freed_bytes += size_bytes
    return tuple(removed), freed_bytes
