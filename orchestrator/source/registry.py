"""Pull through the Ollama server: its own registry, or another one under the same tag."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from orchestrator import log
from orchestrator.errors import SourceBusy, SourceUnreachable
from orchestrator.model import ModelRef, registry_address
from orchestrator.progress import Progress
from orchestrator.server import Server
from orchestrator.server.stream import PullStep
from orchestrator.units import duration

if TYPE_CHECKING:
    import tenacity

_BUSY_S = 60.0
_STALL_S = 120.0
"""Without a byte more for so long the source counts as gone; the server itself never gives up."""


class Registry:
    """The registry at `url` (None: Ollama's own), reached by the server, not by us."""

    def __init__(self, server: Server, url: str | None = None) -> None:
        self.server = server
        self.host: str | None = None
        self.insecure = False
        if url is not None:
            self.host, self.insecure = registry_address(url)
        self.name = url if url is not None else "registry.ollama.ai"

    def pull(self, tag: str, progress: Progress) -> None:
        """See Source.pull. From another registry the model is renamed to its plain tag."""
        plain = ModelRef.parse(tag)
        remote = plain.at(self.host) if self.host else plain
        with log.stage("pull", tag=tag, source=self.name):
            for attempt in _patiently(progress):
                with attempt:
                    steps = self.server.pull(str(remote), insecure=self.insecure)
                    _follow(steps, tag, self.name, progress)
            if remote != plain:
                self.server.copy(str(remote), str(plain))
                self.server.delete(str(remote))


def _patiently(progress: Progress) -> "tenacity.Retrying":
    """Repeat what waiting can cure: the server itself never repeats a manifest request."""
    import tenacity

    def told(state: "tenacity.RetryCallState") -> None:
        failure = state.outcome.exception() if state.outcome else None
        progress.say(f"{failure}; again in {duration(state.upcoming_sleep)}")

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SourceBusy),
        stop=tenacity.stop_after_delay(_BUSY_S),
        wait=tenacity.wait_random_exponential(multiplier=1, max=15),
        before_sleep=told,
        reraise=True,
    )


def _follow(steps: Iterator[PullStep], tag: str, source: str, progress: Progress) -> None:
    """Show a pull by layer, and end it when no byte comes any more."""
    done: dict[str, int] = {}
    advanced, said = time.monotonic(), ""
    with ExitStack() as lasting:
        for step in steps:
            if step.digest and step.total_bytes:
                lasting.close()
                before = done.get(step.digest, -1)
                now = max(before, step.completed_bytes or 0)  # a retried part counts backwards
                if now > before:
                    advanced, done[step.digest] = time.monotonic(), now
                progress.advance(f"pull {tag} {step.digest[7:19]}", now, step.total_bytes)
            elif step.status != said:  # hashing 40 GB sends no event for minutes
                lasting.close()
                advanced, said = time.monotonic(), step.status
                lasting.enter_context(progress.waiting(f"pull {tag}: {step.status}"))
            if time.monotonic() - advanced > _STALL_S:
                raise SourceUnreachable(
                    f"pulling {tag}: no byte from {source} for {_STALL_S:.0f} s"
                )
