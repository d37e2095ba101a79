"""Where a stand-in lies from its first byte until it is taken away, so that a kill leaves nothing.

Where we may write into the server's store it is written there and renamed into blobs/: its bytes
go to the disk once. Else it is written into a folder of our own and uploaded. A mark beside it
carries its digest before the server can have it: whoever finds a mark takes the blob away.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import DiskFull, PullFailed, ServerRefused, ServerUnreachable
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.server import Server
from orchestrator.standin.write import StandIn, Written
from orchestrator.store import Store
from orchestrator.units import gb, gib

NAMESPACE = "deploy/rehearsal"
_MARK = "deploy-rehearsal-"
_PART = f"{_MARK}part"
_SPARE_BYTES = 256 * 1024**2  # a disk filled to the last byte hurts others
_LEAVES_S = 30.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, its store (None: not ours to see or to write), and the folder that files lie in.

    Everything here happens under the lock of the loop: whatever is found there is a leftover.
    """

    server: Server
    store: Store | None
    folder: Path

    @classmethod
    def of(cls, server: Server, store_path: str | None, home: Home) -> "Stage":
        """Return the stage for a server; its store is used where we may write there."""
        store = Store.at(store_path)
        if store and store.writable and (store.path / "blobs").is_dir():
            return cls(server, store, store.path)
        url = urlsplit(server.host)
        return cls(server, None, home.cache / f"rehearsal-{url.hostname}-{url.port}")

    def put(self, standin: StandIn, tag: str, progress: Progress) -> Written:
        """Write the stand-in and make it a blob of the server.

        Raises DiskFull, before anything is written where that is known; ServerUnreachable.
        """
        part = self.folder / _PART
        with _mapped(self.folder, tag):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_disk(standin, tag)
            written = standin.write(
                part,
                lambda done, total: progress.advance(f"write a stand-in of {tag}", done, total),
            )
            (self.folder / f"{_MARK}{written.digest.removeprefix('sha256:')}").touch()
            if self.store:
                self._enter(self.store, part, written.digest)
                return written
        self._upload(part, written, tag, progress)
        part.unlink()
        return written

    def _upload(self, part: Path, written: Written, tag: str, progress: Progress) -> None:
        def sent(done: int) -> None:
            progress.advance(f"upload the stand-in of {tag}", done, written.file_bytes)

        try:
            self.server.upload(part, written.digest, sent)
        except PullFailed as e:  # no source has failed: the server would not take it
            raise ServerRefused(f"the server does not take the stand-in: {e.what}") from e

    def clear(self) -> list[str]:
        """Take every stand-in away: out of memory, its name, its blob, its files.

        Returns what was found. A server that does not answer keeps what we cannot remove without
        it, and a mark stays for the next run.
        """
        found = self._clear_names()
        part = self.folder / _PART
        if part.exists():
            with suppress(OSError):
                part.unlink()
                found.append(str(part))
        for mark in self.folder.glob(f"{_MARK}*"):
            digest = f"sha256:{mark.name.removeprefix(_MARK)}"
            with suppress(ServerRefused, ServerUnreachable, ValueError, OSError):
                self._remove_blob(digest)
                mark.unlink(missing_ok=True)
                found.append(digest)
        if not self.store:
            with suppress(OSError):  # absent, or not empty
                self.folder.rmdir()
        return found

    def _clear_names(self) -> list[str]:
        found = []
        with suppress(ServerUnreachable, ServerRefused):
            loaded = {m.name for m in self.server.loaded()}
            for model in self.server.installed():
                if model.name.startswith(f"{NAMESPACE}:"):
                    found.append(model.name)
                    if model.name in loaded:
                        # After the death of a runner the server lists it for minutes.
                        with suppress(ServerRefused):
                            self.server.unload(model.name, timeout_s=_LEAVES_S)
                    self.server.delete(model.name)
        return found

    def _remove_blob(self, digest: str) -> None:
        if self.store:
            named = {layer.digest for m in self.store.names().values() for layer in m.layers}
            if digest not in named:
                self.store.blob(digest).unlink(missing_ok=True)
            return
        # With its last name a server lets a blob go; where it has none, it gets one for that.
        name = name_of(digest)
        try:
            self.server.create(name, digest)
        except ServerRefused:
            return  # it does not have it
        self.server.delete(name)

    def _check_disk(self, standin: StandIn, tag: str) -> None:
        # Uploaded, it lies on the disk twice for a moment; where the server's is, we cannot see.
        need = standin.needed_bytes + _SPARE_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < need:
            raise DiskFull(
                f"a stand-in of {tag} ({gb(standin.tensor_bytes)}) needs {gib(need)} at "
                f"{self.folder}; {gib(free)} is free",
                needed_bytes=need,
                free_bytes=free,
            )

    def _enter(self, store: Store, part: Path, digest: str) -> None:
        """Put the file among the server's blobs, owned as they are."""
        part.chmod(0o644)
        if os.geteuid() == 0:
            owner = store.path.stat()
            os.chown(part, owner.st_uid, owner.st_gid)
        part.replace(store.blob(digest))


def name_of(digest: str) -> str:
    """Return the model name of a stand-in on the server."""
    return f"{NAMESPACE}:{digest.removeprefix('sha256:')[:12]}"


@contextmanager
def _mapped(folder: Path, tag: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"the disk of {folder} is full while writing a stand-in of {tag}") from e
        raise DiskFull(
            f"cannot write a stand-in of {tag} into {folder}: {e.strerror or e}",
            hint="set DEPLOY_HOME to a writable folder",
        ) from e
