"""An Ollama program that can be started."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.machine import RuntimeKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Binary:
    """`library_path` is the folder for LD_LIBRARY_PATH; None where the program finds its own."""

    path: Path
    kind: RuntimeKind
    library_path: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        library = str(self.library_path) if self.library_path else None
        return {"path": str(self.path), "kind": self.kind, "library_path": library}
