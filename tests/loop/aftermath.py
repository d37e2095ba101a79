"""What must be true after any run that ended well, whatever happened to the runs before it."""

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.runtime.runner import runners_of
from orchestrator.runtime.strays import strays
from orchestrator.store import Store
from tests.loop.answers import chat
from tests.real.server import RealServer

ALIAS = "deploy-current:latest"


def assert_clean(server: RealServer, home: Home, tag: str) -> None:
    """Nothing is orphaned, nothing is half, and `tag` serves by its alias."""
    ledger, store = Ledger(home.ledger), Store(server.models)
    current, previous = ledger.current(server.url, ALIAS), ledger.previous(server.url, ALIAS)
    assert current
    assert current["tag"] == tag
    assert ledger.candidates(server.url) == []
    assert _names(server) == _wanted(current, previous)
    digests = {m.model: m.digest for m in server.client().list().models}
    assert digests[ALIAS] == digests[current["model"]] == current["digest"]
    assert store.torn() == []
    assert {p.name for p in server.models.glob("deploy*")} <= {"deploy.lock"}
    blobs = {p.name for p in (server.models / "blobs").iterdir()}
    named = {store.blob(x.digest).name for m in store.names().values() for x in m.layers}
    assert blobs == named
    assert [r.blob for r in runners_of(server.pid)] == [current["blob"]]
    assert strays(server.models) == ()
    assert not list(home.state.glob("*.json"))
    assert chat(server, "deploy-current") == "deploy-current"


def assert_still_serves(server: RealServer, tag: str | None, home: Home) -> None:
    """Between the kill and the next run: what served answers by its alias."""
    if tag is None:
        return
    assert chat(server, "deploy-current") == "deploy-current"
    current = Ledger(home.ledger).current(server.url, ALIAS)
    assert current
    assert current["tag"] == tag


def _names(server: RealServer) -> set[str]:
    return {str(m.model) for m in server.client().list().models}


def _wanted(current: dict[str, object], previous: dict[str, object] | None) -> set[str]:
    kept = [current] + ([previous] if previous else [])
    return {ALIAS} | {str(d[key]) for d in kept for key in ("tag", "model")}
