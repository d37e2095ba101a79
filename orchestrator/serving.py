"""A server that answers: the one that is there, or one of ours, installed if need be."""

from contextlib import suppress

from orchestrator import log
from orchestrator.era import ServerVersion
from orchestrator.errors import ServerRefused, ServerUnreachable
from orchestrator.importing import Destination
from orchestrator.importing.residue import sweep
from orchestrator.order import Order
from orchestrator.progress import Progress
from orchestrator.release import Box, Release, first_runtime
from orchestrator.runtime import Binary, installed, ours, refuse_start, start, systemd_unit
from orchestrator.server import Server
from orchestrator.store import Store
from orchestrator.survey import Survey, survey
from orchestrator.transfer import Manners


def serving(order: Order, progress: Progress) -> Survey:
    """Return the survey of a server that answers, started (and installed) if none did.

    Raises ServerUnreachable, PullFailed, DiskFull, Busy.
    """
    parallel = order.profile.parallel
    seen = survey(order.home, order.environ, parallel=parallel)
    if seen.answers:
        return seen
    if unit := systemd_unit():
        progress.say(f"{unit.name} is installed and does not answer: starting a server of our own")
    refuse_start(seen.server.host)
    anew = ours(order.home, seen.server.host) is None
    binary = installed(order.home, order.environ) or _first(order, seen, progress)
    with log.stage("server.start", binary=str(binary.path)):
        start(
            binary,
            order.home,
            host=seen.server.host,
            environ=order.environ,
            settings={"OLLAMA_NUM_PARALLEL": str(parallel)},
            report=progress.say,
        )
    seen = survey(order.home, order.environ, parallel=parallel)
    if anew:
        cleared(seen.server, seen.machine.disk.model_store)
    return seen


def cleared(server: Server, store_path: str | None) -> None:
    """Take away what killed imports left on a server that we have started just now."""
    with suppress(ServerRefused, ServerUnreachable):
        version = ServerVersion.parse(server.version())
        swept = sweep(Destination(server=server, store=Store.at(store_path), version=version))
        if swept.removed:
            log.event("imports.swept", removed=len(swept.removed), freed_bytes=swept.freed_bytes)


def _first(order: Order, seen: Survey, progress: Progress) -> Binary:
    """Install what suits a box that has no Ollama."""
    progress.say("no Ollama on this box")
    profile = order.profile
    manners = Manners(connections=profile.connections, bytes_per_s=profile.limit_rate_bytes)
    return first_runtime(
        Box.of(seen.machine),
        order.home,
        order.environ,
        progress,
        release=Release.of(order.environ, base_url=profile.runtime_url),
        manners=manners,
    )
