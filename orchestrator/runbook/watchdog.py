"""`watchdog`: what is deployed answers, under its names, in memory as it was deployed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator import log
from orchestrator.alias import mend
from orchestrator.amiss import misloaded
from orchestrator.errors import DeployError, PromiseBroken, ServerUnreachable
from orchestrator.keep import reload
from orchestrator.order import Order
from orchestrator.presence import presence
from orchestrator.probe.server import read_process
from orchestrator.progress import Progress
from orchestrator.runbook.deployed import deployed
from orchestrator.runtime import ours, record, systemd_unit
from orchestrator.serving import serving
from orchestrator.store import Store
from orchestrator.survey import Survey, look

_TOKEN_S = 300.0  # it may have to wait behind the long answers of others


def run(order: Order, progress: Progress) -> list[str]:
    """Repair what serves and let it generate one token; return the repairs, a sentence each.

    Raises NothingDeployed; PromiseBroken: neither name is left to repair the other from;
    ServerUnreachable: the server is down and not ours to start, or hangs; ServerRefused.
    """
    serves = deployed(order)
    did: list[str] = []
    seen = look(order.environ)
    if not seen.answers:
        seen = _started(order, serves, seen, progress)
        did.append(f"the server at {seen.server.host} was down: started again")
    server = seen.server
    did += _mended(seen, serves)
    if reload(order, seen, serves, progress):
        did.append(f"{serves['model']} was not in memory as deployed: loaded again")
    _require_as_deployed(seen, serves)
    for said in did:
        log.event("watchdog.repaired", said=said)
    with log.stage("token", model=serves["alias"]):
        server.chat_completion(serves["alias"], "Hello", max_tokens=1, timeout_s=_TOKEN_S)
    return did


def _require_as_deployed(seen: Survey, serves: Mapping[str, Any]) -> None:
    """Raise PromiseBroken where loading it again did not help: its slots are the server's."""
    process = read_process(seen.server.host)
    found = presence(seen.server, serves, process.runners if process else ())
    if amiss := misloaded(found, serves):
        raise PromiseBroken(amiss, hint="plan again with `deploy auto`")


def _mended(seen: Survey, serves: Mapping[str, Any]) -> list[str]:
    said = mend(seen.server, Store.at(seen.machine.disk.model_store), serves)
    if said is None:
        raise PromiseBroken(
            f"neither {serves['model']} nor {serves['alias']} is what was deployed any more",
            hint="deploy again with `deploy auto`",
        )
    return said


def _started(order: Order, serves: Mapping[str, Any], seen: Survey, progress: Progress) -> Survey:
    """Start our server again, with the store and the settings that it had.

    Raises ServerUnreachable: it was not ours, or it lives and hangs.
    """
    host = seen.server.host
    if hung := ours(order.home, host):
        raise ServerUnreachable(
            f"our server at {host} (pid {hung.pid}) lives and does not answer",
            hint="end it with `deploy runtime stop`, then `deploy runtime start`",
        )
    path = record.pid_file(order.home, host)
    before = record.read(path)
    if before is None:
        raise _not_ours(host)
    had = dict(before.settings)
    if before.models_path:
        had["OLLAMA_MODELS"] = before.models_path
    profile = replace(order.profile, parallel=serves["parallel"])
    try:
        return serving(replace(order, profile=profile, environ={**order.environ, **had}), progress)
    except DeployError:
        record.write(path, before)  # a failed start removes it; the next run must know it was ours
        raise


def _not_ours(host: str) -> ServerUnreachable:
    unit = systemd_unit()
    hint = f"`systemctl start {unit.name}`" if unit else "start it as it was started before"
    return ServerUnreachable(
        f"the server at {host} is down, and deploy did not start it", hint=hint
    )
