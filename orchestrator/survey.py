"""Look before anything is decided: the server, if one answers, and the machine it runs on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orchestrator import log
from orchestrator.era import ServerVersion
from orchestrator.errors import MachineElsewhere, ServerRefused, ServerUnreachable
from orchestrator.home import Home
from orchestrator.machine import Machine, RuntimeKind, ServerSettings, ServerState
from orchestrator.probe import ServerClaims, read_machine
from orchestrator.probe.settings import settings_of
from orchestrator.probe.sight import Sight
from orchestrator.release import Box, Release
from orchestrator.runtime import Binary, installed, server_host
from orchestrator.runtime.listener import is_here
from orchestrator.server import Server
from orchestrator.store import Store
from orchestrator.usability import judged_for

EMBEDDED_VERSION = "0.9.3"
"""The server that `deploy runtime install` brings (runtime/pins.py)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """`server` is where OLLAMA_HOST points; `answers` says whether one is there.

    `names` are the models in its store, `partials` the downloads that were interrupted there:
    (bytes of the whole blob, bytes of it that are there). `refusal`: what a server that answers
    would not tell.
    """

    server: Server
    answers: bool
    machine: Machine
    names: tuple[str, ...] = ()
    refusal: ServerRefused | None = None
    partials: tuple[tuple[int, int], ...] = ()

    def with_version(self, version: str | None) -> "Survey":
        """Return the same machine under another version of Ollama; None: as it is."""
        if version is None:
            return self
        state = replace(self.machine.server, version=str(ServerVersion.parse(version)))
        return replace(self, machine=replace(self.machine, server=state))


def look(environ: Mapping[str, str], sight: Sight | None = None) -> Survey:
    """Return the machine and its server as they are; `sight` records what was read."""
    server = Server(server_host(environ))
    with log.stage("probe"):
        claims, names, refusal = _ask(server)
        machine = read_machine(
            host_url=server.host,
            server=claims,
            now=datetime.now(UTC),
            environ=environ,
            sight=sight or Sight(),
            # A model of a cloud has no blob: one of the first will do.
            revealed=lambda: next(filter(None, map(server.blob_path, names[:5])), None),
        )
    store = Store.at(machine.disk.model_store)
    return Survey(
        server=server,
        answers=claims is not None,
        machine=machine,
        names=names,
        refusal=refusal,
        partials=store.partials() if store else (),
    )


def survey(home: Home, environ: Mapping[str, str], *, parallel: int) -> Survey:
    """Return what a plan can be made on: where no server answers, the one that auto would start.

    Raises MachineElsewhere: the server runs where the probe cannot look.
    """
    seen = look(environ)
    if not seen.answers and not is_here(seen.server.host):
        raise ServerUnreachable(f"no Ollama server answers at {seen.server.host}, another machine")
    if not seen.answers:
        return replace(seen, machine=_as_started(seen.machine, home, environ, parallel))
    if seen.refusal:
        raise seen.refusal
    if not seen.machine.server.local:
        raise _elsewhere(seen.machine.server)
    return seen


def _elsewhere(server: ServerState) -> MachineElsewhere:
    if server.where:
        return MachineElsewhere(f"the Ollama server at {server.host} is not on this machine")
    return MachineElsewhere(
        f"the process of the Ollama server at {server.host} cannot be seen from this account: it"
        " may be another user's, or a container's",
        hint=f"run deploy as the server's user or as root; else {MachineElsewhere.remedy}",
    )


def _ask(
    server: Server,
) -> tuple[ServerClaims | None, tuple[str, ...], ServerRefused | None]:
    """Return what the server says, the names in its store, and what it refused to say."""
    version = None
    try:
        version = server.version()
        loaded = server.loaded()
        names = tuple(m.name for m in server.installed())
        shown = {m.digest: server.weights(m.name) for m in loaded}
        blobs = {digest: blob for digest, blob in shown.items() if blob}
    except ServerUnreachable:
        return None, (), None
    except ServerRefused as e:
        return ServerClaims(version=version), (), e
    return ServerClaims(version=version, loaded=loaded, blobs=blobs), names, None


def _started(
    machine: Machine, settings: ServerSettings, binary: Binary | None
) -> tuple[RuntimeKind, str | None]:
    """Return the kind and the version of the program that would be started, installed or not."""
    if binary is not None:
        return binary.kind, EMBEDDED_VERSION if binary.kind == "embedded" else binary.version
    from orchestrator.runtime.embedded import refusal

    there = replace(machine, server=replace(machine.server, settings=settings))
    kind = Box.of(there).runtime(refusal())
    return kind, Release().version if kind == "release" else EMBEDDED_VERSION


def _as_started(machine: Machine, home: Home, environ: Mapping[str, str], parallel: int) -> Machine:
    """Return the machine with the server that would be started here: ours, slots explicit."""
    # A server that we start inherits our masks, and is told its slots.
    settings = replace(settings_of(environ), num_parallel=parallel)
    kind, version = _started(machine, settings, installed(home, environ))
    state = replace(machine.server, version=version, runtime=kind, local=True, settings=settings)
    return replace(machine, server=state, accelerators=judged_for(state, machine.accelerators))
