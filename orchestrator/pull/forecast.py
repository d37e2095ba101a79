"""What a pull would do, and how long it would take at the rate that was measured here."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import DeployError, DiskFull, PullFailed
from orchestrator.ledger import Ledger
from orchestrator.ledger.pulls import rate_bytes_per_s
from orchestrator.progress import Progress
from orchestrator.pull.chain import gathered
from orchestrator.pull.provenance import is_there, origin_at, without_download
from orchestrator.pull.request import Request
from orchestrator.pull.sources import Made, Sources
from orchestrator.runtime import disk
from orchestrator.source.intent import Intent
from orchestrator.units import gib


@dataclass(frozen=True, kw_only=True, slots=True)
class Would:
    """What one source would do: `intent`, or why it cannot. `seconds` None: no rate is known."""

    source: str
    intent: Intent | None = None
    failure: DeployError | None = None
    rate_bytes_per_s: float | None = None
    short: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long the download would take."""
        size = self.intent.download_bytes if self.intent else None
        if size is None or (size and not self.rate_bytes_per_s):
            return None
        return size / self.rate_bytes_per_s if self.rate_bytes_per_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return one entry of the forecast."""
        told = asdict(self.intent) if self.intent else None
        return {
            "source": self.source,
            "intent": told,
            "failure": self.failure.what if self.failure else self.short,
            "rate_bytes_per_s": self.rate_bytes_per_s,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What each source would do, in the order in which they are tried."""

    model: str
    server_host: str
    sources: tuple[Would, ...]

    @property
    def chosen(self) -> Would | None:
        """The first that can deliver, as far as can be told; None: no source can."""
        return next((each for each in self.sources if each.intent and not each.short), None)

    @property
    def failure(self) -> DeployError | None:
        """What no source can deliver for: of several, what each said. None: one can."""
        if self.chosen:
            return None
        refused = [(each.source, each.failure) for each in self.sources if each.failure]
        pulls = [(name, e) for name, e in refused if isinstance(e, PullFailed)]
        if len(pulls) == len(self.sources):
            return gathered(self.model, pulls)
        short = next((each.short for each in self.sources if each.short), None)
        return DiskFull(short) if short else refused[0][1]

    def to_json(self) -> dict[str, Any]:
        """Return the document of `deploy pull --dry-run` (schema `pull-forecast`)."""
        return {
            "schema": 1,
            "model": self.model,
            "server_host": self.server_host,
            "chosen": self.chosen.source if self.chosen else None,
            "sources": [each.to_json() for each in self.sources],
        }


def forecast(request: Request, sources: Sources, ledger: Ledger, progress: Progress) -> Forecast:
    """Return what a pull would do. Each source is asked; nothing is written anywhere."""
    asked = [_would(name, request, sources, ledger, progress) for name in sources.names(request)]
    return Forecast(model=request.name, server_host=sources.server.host, sources=tuple(asked))


def _would(
    name: Made, request: Request, sources: Sources, ledger: Ledger, progress: Progress
) -> Would:
    try:
        source = sources.named(name)
        origin = origin_at(source, request.name, progress)
        with progress.waiting(f"asking {source.address} for {request.name}"):
            intent = source.intent(request.name)
        if sources.version is None and is_there(sources.server, ledger, intent.name, origin):
            intent = without_download(intent)
        rate = rate_bytes_per_s(ledger, intent.source)
    except DeployError as e:
        return Would(source=name, failure=e)
    limit = sources.order.profile.limit_rate_bytes
    if rate and limit and sources.ours(name):
        rate = min(rate, limit)
    return Would(
        source=name, intent=intent, rate_bytes_per_s=rate, short=shortage(intent, request.name)
    )


def shortage(intent: Intent, model: str) -> str | None:
    """Return which disk is too small for it; None: none that is known."""
    disks: dict[int | None, list[str]] = {}
    for folder in intent.needed_bytes:  # two folders of one disk share what is free there
        disks.setdefault(_device(Path(folder)), []).append(folder)
    for folders in disks.values():
        need = sum(intent.needed_bytes[folder] for folder in folders)
        free = disk.free_bytes(Path(folders[0]))
        if free is not None and free < need:
            return f"{model} needs {gib(need)} at {' and '.join(folders)}; {gib(free)} is free"
    return None


def _device(path: Path) -> int | None:
    """Return the disk that a folder is or will be on; one that we may not enter is its parent's."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            return folder.stat().st_dev
    return None
