"""Pull through the Ollama server: its own registry, or another one under the same tag."""

from orchestrator import log
from orchestrator.model import ModelRef, registry_address
from orchestrator.progress import Progress
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.manifest import Files
from orchestrator.source.missing import registered
from orchestrator.source.naming import rename
from orchestrator.source.through import STALL_S, Through


class Registry:
    """The registry at `url` (None: Ollama's own), reached by the server, not by us.

    `name` is what a profile calls it, by default its address.
    """

    def __init__(
        self,
        server: Server,
        url: str | None = None,
        *,
        name: str | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        self.server = server
        self.host: str | None = None
        self.insecure = False
        if url is not None:
            self.host, self.insecure = registry_address(url)
        self.address = url if url is not None else "registry.ollama.ai"
        self.name = name or self.address
        self._through = Through(server, self.address, self.insecure, stall_s)

    def name_of(self, tag: str) -> str:
        """See Source.name_of."""
        return str(self._remote(tag))

    def long_names(self, tag: str) -> tuple[str, ...]:
        """See Renaming.long_names."""
        return (self.name_of(tag),)

    def pull(self, tag: str, progress: Progress) -> Pulled:
        """See Source.pull. From another registry the model is renamed to its plain tag.

        The long name goes, unless it was there before: then somebody uses it.
        """
        plain, remote = ModelRef.parse(tag), self._remote(tag)
        with log.stage("pull", tag=tag, source=self.address):
            theirs = remote != plain and self.server.find(str(remote)) is not None
            pulled = self._through.fetch(remote, tag, progress)
            rename(self.server, remote, plain, theirs=theirs)
        return pulled

    def registered(self, tag: str) -> Files:
        """Return the files behind `tag`. Raises what missing.registered raises."""
        return registered(self._remote(tag), insecure=self.insecure)

    def _remote(self, tag: str) -> ModelRef:
        plain = ModelRef.parse(tag)
        return plain.at(self.host) if self.host else plain
