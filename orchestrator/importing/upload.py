"""Files moved to the server, where it has not got them."""

from collections.abc import Sequence

from orchestrator.errors import SourceCorrupt
from orchestrator.importing import Destination, LocalFile
from orchestrator.progress import Progress


def missing(to: Destination, files: Sequence[LocalFile]) -> tuple[LocalFile, ...]:
    """Return the files that the server does not have yet, each content once."""
    once = {file.digest: file for file in files}
    return tuple(file for file in once.values() if not to.server.holds(file.digest))


def upload(to: Destination, files: Sequence[LocalFile], label: str, progress: Progress) -> int:
    """Move the files under one label, and return how many bytes moved.

    Raises DiskFull, SourceCorrupt, PullFailed, ServerUnreachable.
    """
    total_bytes, moved_bytes = sum(file.size_bytes for file in files), 0
    for file in files:
        before = moved_bytes

        def sent(done: int, before: int = before) -> None:
            progress.advance(label, before + done, total_bytes)

        _check_size(file)
        moved_bytes += to.server.upload(file.path, file.digest, sent)
    return moved_bytes


def _check_size(file: LocalFile) -> None:
    try:
        size_bytes = file.path.stat().st_size
    except OSError as e:
        raise SourceCorrupt(f"cannot read {file.path}: {e.strerror or e}") from e
    if size_bytes != file.size_bytes:
        raise SourceCorrupt(
            f"{file.name} has {size_bytes} bytes instead of {file.size_bytes}: it changed",
            hint="fetch it again: repeat the same command",
        )
