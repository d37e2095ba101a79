"""The official releases of Ollama: chosen for this box, verified, unpacked, rolled back.

A release lies in a folder of its own, which appears by one rename, whole, or not at all. The one
before it stays for a rollback; a server that runs from it is not disturbed.
"""

from collections.abc import Mapping

from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.release.box import Box
from orchestrator.release.published import Release
from orchestrator.runtime.binary import Binary
from orchestrator.transfer import Manners, Patience

_ALL_OF_IT = Manners()

__all__ = ["Box", "Release", "first_runtime", "install", "rollback"]


def install(
    release: Release, box: Box, home: Home, progress: Progress, *, manners: Manners = _ALL_OF_IT
) -> Binary:
    """Install a release unless it is there, make it the current one, and return its program.

    May be killed at any instant and run again: what was fetched is kept until it succeeds. Raises
    PullFailed: there is none for this box, nobody delivers it (ModelUnavailable,
    SourceUnreachable, SourceBusy), it is not what its list of checksums names (SourceCorrupt), or
    it does not run here; DiskFull; Busy: another installation does not end.
    """
    from orchestrator.release.installing import installed

    return installed(release, box, home, progress, manners, patience=Patience())


def rollback(home: Home, progress: Progress) -> Binary:
    """Make the release before the current one the current one, and return its program.

    Before the first release there was the embedded runtime, if it is installed. Repeated, it
    returns to the newer one. Raises InvalidInput: there is none; Busy.
    """
    from orchestrator.release.switching import rolled_back

    return rolled_back(home, progress)


def first_runtime(
    box: Box,
    home: Home,
    environ: Mapping[str, str],
    progress: Progress,
    *,
    release: Release | None = None,
    manners: Manners = _ALL_OF_IT,
) -> Binary:
    """Install the runtime that suits a box without one, and return its program.

    With a GPU that a release can use, the release (None: the one that DEPLOY_RUNTIME_URL or Ollama
    publishes), if it can be had; else the embedded runtime where it runs; else the release.
    Raises what `install` and the installation of the embedded runtime raise.
    """
    from orchestrator.release.choosing import chosen

    return chosen(release or Release.of(environ), box, home, progress, manners)
