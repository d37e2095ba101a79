"""Where models come from: one Protocol, one file a source."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from orchestrator.model import Origin
from orchestrator.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """What one pull did. `cached` are the digests ("sha256:…") of files that the server had before:
    no server looks into those again. `fetched_bytes` moved in this run, as far as was reported.
    """

    cached: tuple[str, ...] = ()
    fetched_bytes: int = 0
    fetch_s: float | None = None


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


@runtime_checkable
class Deriving(Protocol):
    """A source of models that have no name of their own: it makes one after what they are."""

    def origin(self, tag: str, progress: Progress) -> Origin | None:
        """Return where `tag` comes from; None: it has a name. Raises what `pull` raises."""


@runtime_checkable
class Renaming(Protocol):
    """A source whose models have another name on their way to the final one."""

    def long_names(self, tag: str) -> tuple[str, ...]:
        """Return the names that `tag` may have meanwhile: one of each place that is asked."""
