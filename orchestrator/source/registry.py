"""Pull through the Ollama server: its own registry, or another one under the same tag."""

from typing import TYPE_CHECKING

from orchestrator import log
from orchestrator.errors import SourceBusy, SourceCorrupt
from orchestrator.model import ModelRef, registry_address
from orchestrator.progress import Progress
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.download import Download
from orchestrator.units import duration

if TYPE_CHECKING:
    import tenacity

_BUSY_S = 60.0
_STALL_S = 45.0
"""Without a byte more for so long the source counts as gone: the server itself asks again for 63 s,
and for ever where a connection stays open without a byte."""


class Registry:
    """The registry at `url` (None: Ollama's own), reached by the server, not by us."""

    def __init__(
        self, server: Server, url: str | None = None, *, stall_s: float = _STALL_S
    ) -> None:
        self.server = server
        self.host: str | None = None
        self.insecure = False
        if url is not None:
            self.host, self.insecure = registry_address(url)
        self.name = url if url is not None else "registry.ollama.ai"
        self._stall_s = stall_s

    def name_of(self, tag: str) -> str:
        """See Source.name_of."""
        return str(self._remote(tag))

    def pull(self, tag: str, progress: Progress) -> Pulled:
        """See Source.pull. From another registry the model is renamed to its plain tag.

        The long name goes, unless it was there before: then somebody uses it.
        """
        plain, remote = ModelRef.parse(tag), self._remote(tag)
        with log.stage("pull", tag=tag, source=self.name):
            theirs = remote != plain and self.server.find(str(remote)) is not None
            pulled = self._intact(remote, tag, progress)
            if remote != plain:
                self.server.copy(str(remote), str(plain))
                if not theirs:
                    self.server.delete(str(remote))
        return pulled

    def _remote(self, tag: str) -> ModelRef:
        plain = ModelRef.parse(tag)
        return plain.at(self.host) if self.host else plain

    def _intact(self, remote: ModelRef, tag: str, progress: Progress) -> Pulled:
        """Download it, and once more if it comes damaged: the server has thrown that file away."""
        try:
            return self._download(remote, tag, progress)
        except SourceCorrupt as e:
            progress.say(f"{e}; once more")
            return self._download(remote, tag, progress)

    def _download(self, remote: ModelRef, tag: str, progress: Progress) -> Pulled:
        def once() -> Pulled:
            steps = self.server.pull(str(remote), insecure=self.insecure, silence_s=self._stall_s)
            return Download(tag, self.name, progress, stall_s=self._stall_s).follow(steps)

        return _patiently(progress)(once)


def _patiently(progress: Progress) -> "tenacity.Retrying":
    """Repeat what waiting can cure: the server itself never repeats a manifest request."""
    import tenacity

    def told(state: "tenacity.RetryCallState") -> None:
        failure = state.outcome.exception() if state.outcome else None
        progress.say(f"{failure}; again in {duration(state.upcoming_sleep)}")

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SourceBusy),
        # Only the waits count: the download before a refusal may have taken hours.
        stop=lambda state: state.idle_for >= _BUSY_S,
        wait=tenacity.wait_random_exponential(multiplier=1, max=15),
        before_sleep=told,
        reraise=True,
    )
