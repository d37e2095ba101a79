"""What a load did."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Way = Literal["store", "api"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """One model that is there now. `digest` is its manifest's, as the server lists it.

    `written_bytes` moved in this run; `checked_bytes` were there before, and were read and hashed.
    """

    name: str
    digest: str
    written_bytes: int
    checked_bytes: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the model as the document of a load has it."""
        return {
            "name": self.name,
            "digest": self.digest,
            "written_bytes": self.written_bytes,
            "checked_bytes": self.checked_bytes,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """A bundle that is loaded: by which way, into which store (None: not known to us).

    `runtime` is the program that was installed in this run; `started`: a server was started.
    """

    file: Path
    way: Way
    server_host: str
    answers: bool
    store: Path | None
    models: tuple[Loaded, ...]
    runtime: Path | None
    started: bool

    def to_json(self) -> dict[str, Any]:
        """Return the document (schema `bundle-load`)."""
        return {
            "schema": 1,
            "file": str(self.file),
            "way": self.way,
            "server_host": self.server_host,
            "answers": self.answers,
            "store": None if self.store is None else str(self.store),
            "models": [model.to_json() for model in self.models],
            "runtime": None if self.runtime is None else str(self.runtime),
            "started": self.started,
        }
