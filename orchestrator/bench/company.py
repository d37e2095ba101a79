"""Who else used the server while we measured: what they loaded, and what that did to our runner."""

from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.bench.sampler import MemoryPeak
from orchestrator.errors import DeployError

if TYPE_CHECKING:
    from orchestrator.server import Server


def others(server: "Server", name: str) -> frozenset[str]:
    """Return the names of the models in memory, without `name`."""
    return frozenset(m.name for m in server.loaded()) - {name}


def disturbance(server: "Server", peak: MemoryPeak, came: Collection[str]) -> str | None:
    """Say who disturbed a measurement, None: nobody did.

    `came` are the names that are loaded now and were not before it; `peak` knows of what came and
    went, where the processes of the server can be seen. Raises ServerUnreachable, ServerRefused.
    """
    known = {_file_of(server, name) for name in came}
    gone = _named(server, set(peak.strangers) - known)
    said = [f"{', '.join(sorted({*came, *gone}))} was loaded meanwhile"] if came or gone else []
    if peak.replaced:
        said.append(
            "the model itself was loaded anew: another client used it with other options, or"
            " pushed it out of memory"
        )
    return "; ".join(said) or None


def _named(server: "Server", files: Collection[str]) -> set[str]:
    """Return a name for each model file, its digest where no installed model has it any more."""
    if not files:
        return set()
    installed = sorted((m.name for m in server.installed()), key=lambda name: (len(name), name))
    names: dict[str | None, str] = {}
    for name in installed:
        names.setdefault(_file_of(server, name), name)
    return {names.get(file, file[:19].replace("-", ":")) for file in files}


def _file_of(server: "Server", name: str) -> str | None:
    with suppress(DeployError):  # a header that we cannot read is a model that we cannot name
        if (shown := server.show(name)) and shown.blob:
            return shown.blob.replace(":", "-")
    return None
