"""Captured boxes, written out again for one test: their files, and what their tools answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.probe.sight import ANSWERS, Sight, answer_name


@dataclass(frozen=True, slots=True)
class Box:
    """A captured box below a folder. Paths are the box's own: `box.file("/proc/version", "…")`."""

    root: Path
    seen: dict[str, str] = field(default_factory=dict)

    @property
    def sight(self) -> Sight:
        """The box as the probe sees it; what it reads is kept in `seen`."""
        return Sight(self.root, self.seen)

    def file(self, name: str, text: object) -> Path:
        """Write a file: bytes as they are, anything else as text."""
        return _written(self.root / name.lstrip("/"), text)

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link that says `target`."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def folder(self, name: str) -> None:
        """Make an empty folder."""
        (self.root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def answer(self, key: str, text: object) -> Path:
        """Write what a tool, or whatever else goes through the sight under this key, answered."""
        return _written(self.root / ANSWERS / answer_name(key), text)


def _written(path: Path, text: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else f"{text}".encode())
    return path


def laid_out(raw: Mapping[str, Any], root: Path) -> Sight:
    """Write what `deploy probe --save` kept below an empty folder; return the sight of that box."""
    box = Box(root)
    for path, text in raw["files"].items():
        box.file(path, text)
    for path, target in raw["links"].items():
        box.link(path, target)
    for key, text in raw["tools"].items():
        box.answer(key, text)
    return box.sight
