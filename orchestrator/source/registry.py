"""Pull through the Ollama server: its own registry, or another one under the same tag."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from orchestrator import log
from orchestrator.errors import InvalidInput, SourceUnreachable
from orchestrator.model import ModelRef
from orchestrator.progress import Progress
from orchestrator.server import Server
from orchestrator.server.stream import PullStep

_STALL_S = 120.0
"""Without a byte more for so long the source counts as gone; the server itself never gives up."""


class Registry:
    """The registry at `url` (None: Ollama's own), reached by the server, not by us."""

    def __init__(self, server: Server, url: str | None = None) -> None:
        self.server = server
        self.host: str | None = None
        self.insecure = False
        if url:
            self.host, self.insecure = _parse(url)
        self.name = url or "registry.ollama.ai"

    def pull(self, tag: str, progress: Progress) -> None:
        """See Source.pull. From another registry the model is renamed to its plain tag."""
        plain = ModelRef.parse(tag)
        remote = plain.at(self.host) if self.host else plain
        with log.stage("pull", tag=tag, source=self.name):
            steps = self.server.pull(str(remote), insecure=self.insecure)
            _follow(steps, tag, self.name, progress)
            if remote != plain:
                self.server.copy(str(remote), str(plain))
                self.server.delete(str(remote))


def _parse(url: str) -> tuple[str, bool]:
    """Return (host:port, plain http). Raises InvalidInput: not a registry's URL."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise InvalidInput(
            f"--registry {url}: not the URL of a registry",
            hint="write it as https://HOST[:PORT], or http://HOST:PORT without TLS",
        )
    return parts.netloc, parts.scheme == "http"


def _follow(steps: Iterator[PullStep], tag: str, source: str, progress: Progress) -> None:
    """Show a pull by layer, and end it when no byte comes any more."""
    done: dict[str, int] = {}
    advanced, said = time.monotonic(), ""
    for step in steps:
        if step.digest and step.total_bytes:
            before = done.get(step.digest, -1)
            now = max(before, step.completed_bytes or 0)  # a retried part counts backwards
            if now > before:
                advanced, done[step.digest] = time.monotonic(), now
            progress.advance(f"pull {tag} {step.digest[7:19]}", now, step.total_bytes)
        elif step.status != said:
            advanced, said = time.monotonic(), step.status
            progress.say(f"pull {tag}: {step.status}")
        if time.monotonic() - advanced > _STALL_S:
            raise SourceUnreachable(f"pulling {tag}: no byte from {source} for {_STALL_S:.0f} s")
