"""A release from the archives to a folder that serves: fetched, unpacked, tried, renamed."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import PullFailed, SourceCorrupt
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.release.archives import archives, store
from orchestrator.release.box import Box
from orchestrator.release.published import Release
from orchestrator.release.switching import switched
from orchestrator.release.unpacking import unpack
from orchestrator.runtime import disk
from orchestrator.runtime.binary import (
    Binary,
    release_at,
    release_folder,
    release_whole,
    write_release_marker,
)
from orchestrator.runtime.scratch import scratch, sweep, turn
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
    with turn(home, progress.say):
        folder = release_folder(home, release.version)
        sweep(home)
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
    with scratch(home) as beside:
        made = beside / "made"
        made.mkdir()
        for path in paths:
            try:
                unpack(path, made, progress)
            except SourceCorrupt:
                path.unlink(missing_ok=True)  # it is what was published, and of no use
                raise
        try_out(release_at(made).path, beside, hint=_OTHER)
        write_release_marker(made, release.version, names)
        if folder.exists():  # damaged, or made for another GPU; a server may still run from it
            folder.rename(beside / "old")
        made.rename(folder)
