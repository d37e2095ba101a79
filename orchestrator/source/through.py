"""A pull that the Ollama server makes from one registry: asked for, followed, taken up again."""

from dataclasses import dataclass

from orchestrator.errors import (
    Interrupted,
    PullFailed,
    SourceBusy,
    SourceCorrupt,
    SourceUnreachable,
)
from orchestrator.model import ModelRef
from orchestrator.progress import Progress
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.download import Download
from orchestrator.source.missing import registered
from orchestrator.source.remote import Patience
from orchestrator.source.waits import Waits
from orchestrator.units import gb

STALL_S = 45.0
"""Without a byte more for so long the source counts as gone: the server itself asks again for 63 s,
and for ever where a connection stays open without a byte."""
_ONE_LOOK = Patience(connect_s=3.0, read_s=5.0, whole_s=8.0, tries=1)


@dataclass(frozen=True, slots=True)
class Through:
    """The server on its way to the registry that messages call `address`."""

    server: Server
    address: str
    insecure: bool = False
    stall_s: float = STALL_S

    def fetch(self, remote: ModelRef, tag: str, progress: Progress) -> Pulled:
        """Return when the server has `remote`, which messages call `tag`.

        What comes damaged is fetched once more: the server has thrown that file away. Raises
        PullFailed and its kinds, DiskFull, ServerUnreachable, with `done_bytes` and `total_bytes`.
        """
        download = Download(tag, self.address, progress, stall_s=self.stall_s)
        try:
            try:
                return self._patiently(download, remote, progress)
            except SourceCorrupt as e:
                progress.say(f"{e}; once more")
                download.begin_anew()
                return self._patiently(download, remote, progress)
        except (SourceUnreachable, SourceBusy) as e:
            raise _kept(e, download) from e
        except (KeyboardInterrupt, Interrupted):
            if done := download.done_bytes:
                progress.say(
                    f"{gb(done)} of {gb(download.total_bytes)} of {tag} are kept: run the same "
                    "again, and it goes on from there"
                )
            raise

    def _patiently(self, download: Download, remote: ModelRef, progress: Progress) -> Pulled:
        def once() -> Pulled:
            return download.follow(
                self.server.pull(str(remote), insecure=self.insecure, silence_s=self.stall_s)
            )

        return Waits(download, progress, lambda: self._told_s(remote)).retrying()(once)

    def _told_s(self, remote: ModelRef) -> float | None:
        """Return after how many seconds the registry wants to be asked again; None: untold.

        The server's error does not repeat the header, so we ask the same question once ourselves.
        """
        try:
            registered(remote, insecure=self.insecure, patience=_ONE_LOOK)
        except SourceBusy as e:
            return float(e.details["retry_after_s"]) or None
        except PullFailed:  # it may be in reach of the server and not of us
            return None
        return None


def _kept(failure: PullFailed, download: Download) -> PullFailed:
    """Return the failure with what is there already, which the next pull goes on from."""
    if not (done := download.done_bytes):
        return failure
    total = download.total_bytes
    details = failure.details | {"done_bytes": done, "total_bytes": total}
    return type(failure)(
        f"{failure.what}; {gb(done)} of {gb(total)} are here and kept: the next run goes on from"
        " there",
        hint=failure.hint,
        **details,
    )
