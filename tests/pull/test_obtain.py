"""What a pull says of its bytes is what somebody has looked at."""

from dataclasses import replace
from pathlib import Path

import pytest

import orchestrator.site
from orchestrator.catalog import Catalog
from orchestrator.home import Home
from orchestrator.probe.server import ServerProcess
from orchestrator.pull.obtain import Obtained, obtain
from orchestrator.pull.registered import Registered
from orchestrator.site import Site
from orchestrator.source.registry import Registry as Mirror
from orchestrator.store import Store
from tests.loop.heard import Heard
from tests.pull.stores import DIGEST, filled
from tests.real.registry import Registry
from tests.real.server import RealServer

TAG = "qwen3:0.6b"


@pytest.fixture
def site(server: RealServer, home: Home) -> Site:
    return Site.at(home, {"OLLAMA_HOST": server.url})


def _obtained(site: Site, home: Home, registry: Registry) -> Obtained:
    mirror = Mirror(site.server, registry.url, name="mirror")
    source = Registered(source=mirror, store_path=site.store_path, catalog=Catalog.bundled())
    return obtain(site, home, TAG, [source], Heard())


def test_a_store_that_is_not_the_servers_verifies_nothing(
    site: Site, home: Home, registry: Registry, tmp_path: Path
) -> None:
    other = filled(tmp_path / "other")  # it has the very name
    other.blob(DIGEST).write_bytes(b"damaged")

    got = _obtained(replace(site, store_path=str(other.path)), home, registry)

    assert got.to_json()["outcome"] == "unverified"
    assert got.layers == ()
    assert other.blob(DIGEST).read_bytes() == b"damaged"


def test_files_that_were_there_and_that_nobody_can_read_are_not_called_verified(
    site: Site, home: Home, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "sha256-0")

    assert _obtained(site, home, registry).to_json()["outcome"] == "verified"
    monkeypatch.setattr(Store, "damage", refuse)

    again = _obtained(site, home, registry).to_json()

    assert (again["outcome"], again["hashed"]) == ("unverified", [])
    assert "nobody looked into them" in again["detail"]


def test_what_a_killed_mend_set_aside_is_gone_after_the_next_pull(
    site: Site, home: Home, registry: Registry
) -> None:
    _obtained(site, home, registry)
    store = site.store
    assert store
    for layer in store.names()[TAG].layers:
        store.set_aside(layer.digest)

    got = _obtained(site, home, registry)

    assert list(store.path.glob("deploy-aside-*")) == []
    assert got.to_json()["outcome"] == "verified"
    assert store.damage(got.layers, lambda *_: None) == []


@pytest.mark.parametrize("known", [True, False])
def test_a_store_that_is_guessed_counts_only_if_it_has_what_the_server_lists(
    server: RealServer,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
) -> None:
    """The server is another user's: its environment is hidden, and it has no model yet."""
    guessed = filled(tmp_path / ".ollama" / "models").path
    hidden = ServerProcess(pid=server.pid, home=str(tmp_path), settings_known=known)
    monkeypatch.setattr(orchestrator.site, "read_process", lambda _: hidden)

    site = Site.at(home, {"OLLAMA_HOST": server.url})

    assert site.store_path == (str(guessed) if known else None)
