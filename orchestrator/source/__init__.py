"""Where models come from: one Protocol, one file a source."""

from dataclasses import dataclass
from typing import Protocol

from orchestrator.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """What one pull did. `cached` are the digests ("sha256:…") of files that the server had before:
    no server looks into those again. `fetched_bytes` moved in this run, as far as was reported.
    """

    cached: tuple[str, ...] = ()
    fetched_bytes: int = 0


class Source(Protocol):
    """Delivers a model to the server under its plain tag."""

    @property
    def name(self) -> str:
        """What a profile calls it."""

    @property
    def address(self) -> str:
        """Where it is, for messages and the ledger."""

    def name_of(self, tag: str) -> str:
        """Return the name under which the server fetches `tag`, before it gets its final one."""

    def final(self, tag: str) -> str:
        """Return the name that the model has when it is there. Raises InvalidInput: no name."""

    def pull(self, tag: str, progress: Progress) -> Pulled:
        """Make `tag` exist on the server, and return what that took.

        Raises ModelUnavailable (the source answers and has it not), SourceUnreachable, SourceBusy,
        SourceCorrupt, DiskFull, PullFailed.
        """
