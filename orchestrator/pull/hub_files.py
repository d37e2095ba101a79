"""The files of a pull from the hub on this disk: what is there, and what is missing.

They lie in one folder a commit, where an interrupted pull goes on, and go with the last step. What
the hub client's own cache has whole is read where it lies, and never changed.
"""

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator import transfer
from orchestrator.home import Home
from orchestrator.importing import LocalFile
from orchestrator.progress import Progress
from orchestrator.pull.hub_plan import HubFile, HubPlan
from orchestrator.runtime import disk
from orchestrator.transfer import Credentials, Fetched, Manners, Patience, Wanted
from orchestrator.units import gb

_PIECE_BYTES = 1024**2


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """The files of a plan, whole and verified, by their names in the repository."""

    files: dict[str, LocalFile]
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class HubFolder:
    """Where the files of one plan lie while they are needed."""

    home: Home
    plan: HubPlan
    patience: Patience = field(default_factory=Patience)

    @property
    def path(self) -> Path:
        """The folder of the plan's commit."""
        # A mirror that tells no commit leaves the revision in its place: refs/pr/7.
        repo, commit = (told.replace("/", "--") for told in (self.plan.repo, self.plan.commit))
        return self.home.cache / "hub" / repo / commit

    def present_bytes(self) -> int:
        """Return how much of the plan lies on this disk, here and in the hub client's cache."""
        return sum(self._present(file) for file in self.plan.wanted)

    def gather(self, progress: Progress, manners: Manners) -> Gathered:
        """Return all files, fetched as far as they are not here. Raises what transfer.fetch does.

        A file of the hub client's cache counts if its bytes are those that the hub names.
        """
        kept = {file.name: found for file in self.plan.wanted if (found := _kept(self.plan, file))}
        files = {}
        for file in self.plan.wanted:
            path = kept.get(file.name)
            if path and (digest := verified(path, file, progress)):
                files[file.name] = _local(file, path, digest)
        missing = [file for file in self.plan.wanted if file.name not in files]
        fetched = self._fetch(missing, progress, manners) if missing else []
        for file, each in zip(missing, fetched, strict=True):
            files[file.name] = _local(file, each.path, each.sha256)
        return Gathered(files=files, fetched_bytes=sum(each.fetched_bytes for each in fetched))

    def remove(self, progress: Progress) -> None:
        """Remove all of the repository, also what interrupted pulls left at commits of before."""
        folder = self.path.parent
        try:
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as e:  # the model is there all the same
            progress.say(f"warning: {e.filename or folder} stays: {e.strerror or e}")
        with suppress(OSError):  # not empty, or not there
            folder.parent.rmdir()

    def _fetch(
        self, files: Sequence[HubFile], progress: Progress, manners: Manners
    ) -> list[Fetched]:
        wanted = [
            Wanted(
                url=file.url,
                target=self.path / file.name,
                what=f"{self.plan.repo}/{file.name}",
                size_bytes=file.size_bytes,
                digest=file.digest,
            )
            for file in files
        ]
        with disk.mapped(self.path):
            for each in wanted:
                each.target.parent.mkdir(parents=True, exist_ok=True)
        return transfer.fetch(
            wanted,
            f"download {self.plan.name}",
            progress,
            credentials=Credentials(headers=self.plan.headers, login=self.plan.login),
            manners=manners,
            patience=self.patience,
        )

    def _present(self, file: HubFile) -> int:
        if _kept(self.plan, file):
            return file.size_bytes
        target = self.path / file.name
        for path in (target, target.with_name(f"{target.name}.part")):
            with suppress(OSError):
                told = path.stat()
                # What is on disk are its blocks; the last of them may be longer than the file.
                return min(told.st_blocks * 512, told.st_size, file.size_bytes)
        return 0


def _kept(plan: HubPlan, file: HubFile) -> Path | None:
    """Return the file in the hub client's own cache, None: it is not there in its full size."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(plan.repo, file.name, revision=plan.commit)
    with suppress(OSError):
        if isinstance(found, str) and Path(found).stat().st_size == file.size_bytes:
            return Path(found)
    return None


def verified(path: Path, file: HubFile, progress: Progress) -> str | None:
    """Return the "sha256:…" of a file whose bytes are those that the hub names; None: others."""
    whole, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % file.size_bytes)  # noqa: S324 - git's
    done = 0
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE_BYTES):
                whole.update(piece)
                blob.update(piece)
                done += len(piece)
                progress.advance(f"verify {file.name}", done, file.size_bytes)
    except OSError as e:
        progress.say(f"{path} is not used: {e.strerror}")
        return None
    found = f"sha256:{whole.hexdigest()}"
    if file.digest in {found, f"git:{blob.hexdigest()}"}:
        return found
    progress.say(f"{path} is not what the hub has ({gb(file.size_bytes)}): it is fetched anew")
    return None


def _local(file: HubFile, path: Path, digest: str) -> LocalFile:
    return LocalFile(
        name=PurePosixPath(file.name).name if file.name.endswith(".gguf") else file.name,
        path=path,
        size_bytes=file.size_bytes,
        digest=digest,
    )
