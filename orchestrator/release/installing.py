"""A release from the archives to a folder that serves: fetched, unpacked, tried, renamed."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import PullFailed, SourceCorrupt
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.release.archives import archives, store
from orchestrator.release.box import Box
from orchestrator.release.published import Release
from orchestrator.release.switching import switched, turn
from orchestrator.release.unpacking import unpack
from orchestrator.runtime import disk
from orchestrator.runtime.binary import (
    Binary,
    release_at,
    release_folder,
    release_whole,
    write_release_marker,
)
from orchestrator.runtime.trying import try_out
from orchestrator.transfer import Manners, Patience

_OTHER = "name another --version, or `deploy runtime install --from embedded`"
_BY_HAND = "install Ollama by hand: https://ollama.com/download"


def installed(
    release: Release,
    box: Box,
    home: Home,
    progress: Progress,
    manners: Manners,
    *,
    patience: Patience,
) -> Binary:
    """See orchestrator.release.install; `patience` is for the first file that is asked for."""
    if why := box.refusal:
        raise PullFailed(f"no release of Ollama for this box: {why}", hint=_BY_HAND)
    with turn(home, progress):
        folder = release_folder(home, release.version)
        _sweep(home)
        if not release_whole(home, folder.name, box.archives):
            paths = archives(release, box.archives, home, progress, manners, patience)
            with disk.mapped(home.runtimes):
                _make(release, box.archives, paths, home, progress)
        found = switched(home, folder.name, progress)
        shutil.rmtree(store(home), ignore_errors=True)
    progress.say(f"{release} lies in {folder}")
    return found


def _make(
    release: Release,
    names: Sequence[str],
    paths: Sequence[Path],
    home: Home,
    progress: Progress,
) -> None:
    """Unpack into a folder beside the target, see that it runs, and rename it."""
    folder = release_folder(home, release.version)
    with _scratch(home) as scratch:
        made = scratch / "made"
        made.mkdir()
        for path in paths:
            try:
                unpack(path, made, progress)
            except SourceCorrupt:
                path.unlink(missing_ok=True)  # it is what was published, and of no use
                raise
        try_out(release_at(made).path, scratch, hint=_OTHER)
        write_release_marker(made, release.version, names)
        if folder.exists():  # damaged, or made for another GPU; a server may still run from it
            folder.rename(scratch / "old")
        made.rename(folder)


@contextmanager
def _scratch(home: Home) -> Iterator[Path]:
    """Give a folder beside the target: a rename out of it is atomic."""
    home.runtimes.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=".installing-", dir=home.runtimes))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _sweep(home: Home) -> None:
    """Remove what killed installations left. The lock is held, so nobody is still at it."""
    for path in home.runtimes.glob(".installing-*"):
        shutil.rmtree(path, ignore_errors=True)
