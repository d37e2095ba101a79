"""What a box without an Ollama gets: the release, or the embedded runtime."""

from orchestrator.errors import PullFailed
from orchestrator.home import Home
from orchestrator.progress import Progress
from orchestrator.release.box import Box
from orchestrator.release.installing import installed
from orchestrator.release.published import Release
from orchestrator.runtime import embedded
from orchestrator.runtime.binary import Binary
from orchestrator.transfer import Manners, Patience

# Long enough for a slow line to show that it works, short enough for a box without any.
_SHORT = Patience(connect_s=5.0, read_s=10.0, tries=2, longest_wait_s=2.0)


def chosen(release: Release, box: Box, home: Home, progress: Progress, manners: Manners) -> Binary:
    """See orchestrator.release.first_runtime."""
    no_embedded = embedded.refusal()
    if no_embedded:
        progress.say(f"installing {release}: there is no embedded runtime, {no_embedded}")
        return installed(release, box, home, progress, manners, patience=Patience())
    if box.runtime(no_embedded) == "embedded":
        progress.say("no GPU that Ollama can use: installing the embedded runtime")
        return _embedded(home, progress)
    progress.say(f"installing {release}, which uses the GPU")
    try:
        return installed(release, box, home, progress, manners, patience=_SHORT)
    except PullFailed as e:
        progress.say(f"warning: {e.what}")
        progress.say(
            "warning: installing the embedded runtime, which DOES NOT USE THE GPU;"
            " `deploy runtime install --from release` brings the release later"
        )
        return _embedded(home, progress)


def _embedded(home: Home, progress: Progress) -> Binary:
    return embedded.install(home, report=progress.say, progress=progress.advance)
