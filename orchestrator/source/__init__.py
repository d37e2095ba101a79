"""Where models come from: one Protocol, one file a source."""

from typing import Protocol

from orchestrator.progress import Progress


class Source(Protocol):
    """Delivers a model to the server under its plain tag."""

    name: str

    def pull(self, tag: str, progress: Progress) -> None:
        """Make `tag` exist on the server.

        Raises ModelUnavailable (the source answers and has it not), SourceUnreachable, DiskFull,
        PullFailed.
        """
