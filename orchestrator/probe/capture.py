"""A machine with all that was read to know it, in one document, and back into a tree of files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.machine import Machine
from orchestrator.probe.sight import ANSWERS, Sight, answer_name

_TOOL, _LINK = "$ ", "-> "
_MOST_CHARACTERS = 64 * 1024


def captured(machine: Machine, sight: Sight) -> dict[str, Any]:
    """Return the machine document with `raw`: the files, links and tool answers behind it.

    What readers of a plan need stands in the document itself; `raw` is for those who ask why.
    """
    seen = sight.seen or {}
    files = {k: v[:_MOST_CHARACTERS] for k, v in seen.items() if k.startswith("/")}
    return machine.to_json() | {
        "raw": {
            "files": files,
            "links": {k.removeprefix(_LINK): v for k, v in seen.items() if k.startswith(_LINK)},
            "tools": {k.removeprefix(_TOOL): v for k, v in seen.items() if k.startswith(_TOOL)},
        }
    }


def laid_out(raw: Mapping[str, Any], root: Path) -> Sight:
    """Write what was captured below an empty folder and return the sight of that box.

    Raises ValueError: a path in it leads out of the folder.
    """
    for path, text in (raw.get("files") or {}).items():
        _write(_inside(root, path), text)
    for path, target in (raw.get("links") or {}).items():
        place = _inside(root, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(target)
    for key, text in (raw.get("tools") or {}).items():
        _write(root / ANSWERS / answer_name(key), text)
    return Sight(root)


def _inside(root: Path, path: str) -> Path:
    place = root / path.lstrip("/")
    if ".." in place.parts:
        raise ValueError(f"{path} leads out of the captured box")
    return place


def _write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, "utf-8")
