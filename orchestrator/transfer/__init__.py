"""Downloads of our own: several files at once, each resumable, each verified while it comes.

For files that the Ollama server does not fetch itself: the hub's, and the runtime's archives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One file: the absolute URL that is asked anew at each try, and where the whole file goes.

    While it comes it lies beside it as `TARGET.part`. `what` names it in messages. `digest` is
    "sha256:…", or "git:…" for the sha1 of a git blob; None: nobody says what its bytes are.
    """

    url: str
    target: Path
    what: str
    size_bytes: int | None = None
    digest: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Manners:
    """How much of a line may be taken: files at once, and bytes/s of all together (None: all)."""

    connections: int = 4
    bytes_per_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a download waits: for a connection, for a byte; how often without one byte more."""

    connect_s: float = 10.0
    read_s: float = 30.0
    tries: int = 8
    longest_wait_s: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What is sent to the host of a URL, and never to the one that it redirects to.

    `login` is the hint of an error for who is not let in.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: str = "it asks for a login"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A whole file. `sha256` is "sha256:…" of its bytes; `fetched_bytes` moved in this run."""

    path: Path
    size_bytes: int
    sha256: str
    fetched_bytes: int


def fetch(
    wanted: Sequence[Wanted],
    label: str,
    progress: Progress,
    *,
    credentials: Credentials = Credentials(),
    manners: Manners = Manners(),
    patience: Patience = Patience(),
) -> list[Fetched]:
    """Return the files, in the order asked for; see orchestrator.transfer.crew."""
    from orchestrator.transfer.crew import fetch_all

    return fetch_all(
        wanted, label, progress, credentials=credentials, manners=manners, patience=patience
    )
