"""How the server at an address is: does it answer, whose is it, what was it started with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.home import Home
from orchestrator.machine import RuntimeKind
from orchestrator.runtime.address import server_host, version_at
from orchestrator.runtime.listener import listener_pid
from orchestrator.runtime.orphan import orphans
from orchestrator.runtime.owner import Owner, stranger
from orchestrator.runtime.record import ours


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeStatus:
    """A server, or that there is none. None where it cannot be seen without more rights.

    `settings` are the variables that it was started with; `orphans` the pids of our runners that
    outlived their server, at any address.
    """

    host: str
    answering: bool
    version: str | None
    owner: Owner
    pid: int | None = None
    kind: RuntimeKind | None = None
    binary: str | None = None
    models_path: str | None = None
    log: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    orphans: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the status document (schema `runtime`)."""
        return {"schema": 1, **asdict(self), "orphans": list(self.orphans)}


def status(home: Home, environ: Mapping[str, str]) -> RuntimeStatus:
    """Return how the server that OLLAMA_HOST means is. Raises InvalidInput: a bad OLLAMA_HOST."""
    url = server_host(environ)
    version = version_at(url)
    left = tuple(process.pid for process in orphans(home))
    answering = version is not None
    if running := ours(home, url):
        return RuntimeStatus(
            host=url,
            answering=answering,
            version=version,
            owner="ours",
            pid=running.pid,
            kind=running.kind,
            binary=running.binary,
            models_path=running.models_path,
            log=running.log,
            settings=running.settings,
            orphans=left,
        )
    if not answering and listener_pid(url) is None:
        return RuntimeStatus(host=url, answering=False, version=None, owner="none", orphans=left)
    who = stranger(home, url)
    return RuntimeStatus(
        host=url,
        answering=answering,
        version=version,
        owner=who.owner,
        pid=who.pid,
        kind=who.kind,
        binary=who.program,
        models_path=who.models_path,
        settings=who.settings,
        orphans=left,
    )
