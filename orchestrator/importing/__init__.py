"""Models that Ollama did not pull: checked, uploaded, made into a model, proved by one answer."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.era import ServerVersion
from orchestrator.server import Server
from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFile:
    """A whole file on this disk: `name` is the one that the import sees, `digest` "sha256:…"."""

    name: str
    path: Path
    size_bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """The server that a model goes to; `store` is None where its files are not ours to see."""

    server: Server
    store: Store | None
    version: ServerVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What became of the files: the model's name on the server; `uploaded_bytes` moved to it."""

    name: str
    uploaded_bytes: int
    notes: tuple[str, ...] = ()
