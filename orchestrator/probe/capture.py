"""A machine with all that was read to know it, in one document."""

from typing import Any

from orchestrator.machine import Machine
from orchestrator.probe.sight import Sight

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
