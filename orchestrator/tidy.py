"""What runs that were killed left behind, found and put right before anything else is done.

Only under the lock of the loop: then nobody else is at it, so a candidate in the ledger is a
leftover, and so are a staged manifest, a half pulled name and a runner without a server.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orchestrator import log
from orchestrator.alias import mend
from orchestrator.derive import discard, shared
from orchestrator.errors import ServerRefused
from orchestrator.ledger import Ledger
from orchestrator.order import Order
from orchestrator.presence import presence
from orchestrator.progress import Progress
from orchestrator.rehearse import clear
from orchestrator.runtime.environment import keeps_unreferenced
from orchestrator.runtime.proc import environ
from orchestrator.runtime.strays import end_strays
from orchestrator.server import Server
from orchestrator.settle import finish
from orchestrator.store import Store
from orchestrator.survey import Survey
from orchestrator.units import gb

_LOOK_BACK = 20  # a run ends a few deployments at most
_GOES_S = 5.0
_PROVEN = ("passed", "warned", "unverified")


def tidy(order: Order, seen: Survey, progress: Progress) -> None:
    """Finish or undo what a killed run began, mend the names that serve, free what is unused.

    Raises ServerRefused, ServerUnreachable, DiskFull.
    """
    store = Store.at(seen.machine.disk.model_store)
    if store:
        _end_runners(store, progress)
        if store.writable:
            with suppress(OSError):  # a file that nobody takes for a model
                store.remove_staged()
                store.bring_back()
    clear(order, seen, progress)
    ledger = Ledger(order.home.ledger)
    left = ledger.candidates(seen.server.host)
    proven = [c for c in left if _is_proven(order, seen.server, c)]
    # Before anything is deleted: the server takes a torn name for one that needs no blob.
    _mend(seen.server, store, ledger, {c["alias"] for c in proven}, progress)
    finished = [c for c in proven if _finished(order, seen, c, progress)]
    _mend(seen.server, store, ledger, set(), progress)
    for candidate in (c for c in left if c not in finished):
        _undo(seen.server, store, ledger, candidate, progress)
    _name_plainly(seen.server, ledger, progress)
    _let_go(seen.server, store, ledger, progress)
    if store:
        _drop_torn(store, ledger, seen.server.host, progress)
        _sweep(store, seen, progress)


def _end_runners(store: Store, progress: Progress) -> None:
    """Runners outlive a server that was killed, and hold their memory for nobody."""
    ended, refused = end_strays(store.path)
    for pids, said in ((ended, "ended"), (refused, "warning: not ours to end:")):
        if pids:
            log.event("runners.stray", pids=list(pids), said=said)
            numbers = ", ".join(map(str, pids))
            progress.say(f"{said} runners whose server is gone (pid {numbers})")


def _is_proven(order: Order, server: Server, candidate: Mapping[str, Any]) -> bool:
    """Whether all that is left to do is to let it serve, and that is what is asked for."""
    verdict, found = candidate["verdict"], server.find(candidate["model"])
    whole = found is not None and found.digest == candidate["digest"]
    asked = candidate["requested"] == order.asked
    return whole and asked and verdict is not None and verdict["outcome"] in _PROVEN


def _finished(order: Order, seen: Survey, candidate: Mapping[str, Any], progress: Progress) -> bool:
    """Let a proven candidate serve; False: it does not load any more, and is to be undone."""
    progress.say(f"{candidate['model']} was proven by a run that was killed: finishing that")
    try:
        finish(order, seen, candidate)
    except ServerRefused as e:
        progress.say(f"warning: {e.what}")
        return False
    return True


def _mend(
    server: Server, store: Store | None, ledger: Ledger, leave: set[str], progress: Progress
) -> None:
    """Put the names of what serves right, but for the aliases that are about to move."""
    for serves in ledger.currents(server.host):
        if serves["alias"] not in leave:
            for said in mend(server, store, serves) or ():
                log.event("alias.mended", said=said)
                progress.say(said)


def _undo(
    server: Server,
    store: Store | None,
    ledger: Ledger,
    candidate: Mapping[str, Any],
    progress: Progress,
) -> None:
    """Take away what a killed run had made of a candidate."""
    progress.say(f"cleaning up after a run that was killed at {candidate['model']}")
    _unname(server, ledger, candidate)
    if candidate["tag_digest"]:  # else it was killed before it made anything
        with suppress(ServerRefused):  # busy or gone: what is over is looked at again
            digest, used = candidate["digest"], ledger.in_use(server.host)
            discard(server, store, candidate["model"], used, digest)
    ledger.end(candidate["id"], "failed", "the run ended before it was done")


def _unname(server: Server, ledger: Ledger, candidate: Mapping[str, Any]) -> None:
    """Take the alias off a candidate that is not to serve, where no deployment takes it back."""
    alias = server.find(candidate["alias"])
    serves = ledger.current(server.host, candidate["alias"])
    if alias and serves is None and alias.digest == candidate["digest"]:
        server.delete(candidate["alias"])


def _let_go(server: Server, store: Store | None, ledger: Ledger, progress: Progress) -> None:
    """Unload what was replaced, and delete what is over: a killed run had only entered it."""
    in_use = ledger.in_use(server.host)
    serving = {d["blob"] for d in in_use if d["state"] == "current"}
    for old in (d for d in in_use if d["blob"] not in serving):
        # Another user's alias may name it, with a ledger of its own.
        named = shared(server, old["model"], old["digest"])
        if not named and presence(server, old).pinned:
            progress.say(f"{old['model']} serves no more: taking it out of memory")
            with suppress(ServerRefused):  # it still answers: it goes after that
                server.unload(old["model"], timeout_s=_GOES_S)
    there = {m.name: m.digest for m in server.installed()}
    for over in ledger.ended(server.host, _LOOK_BACK):
        if over["digest"] and there.get(over["model"]) == over["digest"]:
            with suppress(ServerRefused):
                discard(server, store, over["model"], in_use, over["digest"])


def _name_plainly(server: Server, ledger: Ledger, progress: Progress) -> None:
    """Give a model that came complete under its longer name the plain one, and drop the other."""
    there = {m.name: m.digest for m in server.installed()}
    known = (*ledger.in_use(server.host), *ledger.ended(server.host, _LOOK_BACK))
    tags = {d["pulled_as"]: d["tag"] for d in known}
    for long_name in there.keys() & tags.keys():
        tag = tags[long_name]
        if there.get(tag) not in (None, there[long_name]):
            continue  # newer bytes, and perhaps somebody's own
        progress.say(f"{long_name} was fetched by a run that was killed: it is {tag}")
        if tag not in there:
            server.copy(long_name, tag)
        server.delete(long_name)


def _drop_torn(store: Store, ledger: Ledger, host: str, progress: Progress) -> None:
    """Remove names of ours that a dying server left empty: its API cannot delete them."""
    used = ledger.in_use(host)
    ours = {d[key] for d in used for key in ("model", "alias")}
    for name in store.torn():
        if name.startswith("deploy/") and name not in ours and store.writable:
            with suppress(OSError):
                store.discard(name)
        elif name not in ours:  # those are written over when the loop deploys again
            how = "remove its manifest" if name.startswith("deploy") else f"`ollama pull {name}`"
            progress.say(f"warning: {name} is torn in {store.path}: {how}")


def _sweep(store: Store, seen: Survey, progress: Progress) -> None:
    """Free what no model names, where the server was told never to do so itself."""
    pid = seen.machine.server.pid
    if pid is None or not store.writable or not keeps_unreferenced(environ(pid) or {}):
        return
    swept = store.sweep(now_s=time.time(), server_pid=pid)
    if swept.removed:
        log.event("store.swept", removed=swept.removed, freed_bytes=swept.freed_bytes)
        count = len(swept.removed)
        progress.say(f"removed {count} files that no model names: {gb(swept.freed_bytes)} freed")
    elif swept.skipped:
        log.event("store.sweep_skipped", why=swept.skipped)
