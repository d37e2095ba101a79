import os
from pathlib import Path

import pytest

from orchestrator.errors import ServerRefused
from orchestrator.server import Server
from orchestrator.store import Store
from tests.real.server import RealServer

NAME = "qwen2.5:0.5b"
ALIAS = "deploy-current"


def digest(server: RealServer, name: str) -> str | None:
    found = Server(server.url).find(name)
    return found.digest if found else None


def alias_file(server: RealServer) -> Path:
    return server.models / "manifests/registry.ollama.ai/library/deploy-current/latest"


def test_the_server_sees_at_once_where_a_name_points(server: RealServer, store: Store) -> None:
    Server(server.url).derive("deploy/q:ctx512", NAME, {"num_ctx": 512})

    store.point(ALIAS, NAME)
    assert digest(server, ALIAS) == digest(server, NAME)
    store.point(ALIAS, "deploy/q:ctx512")
    assert digest(server, ALIAS) == digest(server, "deploy/q:ctx512") != digest(server, NAME)
    assert "num_ctx" in (server.client().show(ALIAS).parameters or "")
    assert store.staged() == []


def test_a_name_spelt_in_another_case_is_the_same(server: RealServer, store: Store) -> None:
    server.client().copy(NAME, "Deploy-Current")

    store.point(ALIAS, NAME.upper())

    assert [name.lower() for name in store.names()] == ["deploy-current:latest", NAME]


def test_a_new_name_is_spelt_as_its_neighbours_so_that_the_server_finds_it(
    server: RealServer, store: Store
) -> None:
    server.client().copy(NAME, "Team/one")

    store.point("team/two", NAME)

    assert "Team/two:latest" in store.names()
    assert all(Server(server.url).show("team/two") for _ in range(20))


def test_a_name_that_is_new_is_open_to_the_server_whatever_our_umask(
    server: RealServer, store: Store
) -> None:
    before = os.umask(0o077)
    try:
        store.point("some/new:name", NAME)
    finally:
        os.umask(before)

    path = server.models / "manifests/registry.ollama.ai/some/new/name"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & path.parents[1].stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_as_root_a_new_name_belongs_to_the_user_of_the_server(
    store: Store, manifest_file: Path
) -> None:
    os.chown(manifest_file, 4711, 4712)

    store.point("some/new:name", NAME)

    made = store.path / "manifests/registry.ollama.ai/some/new/name"
    for path in (made, made.parent, made.parents[1]):
        assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712)
    assert made.parents[2].stat().st_uid != 4711


def test_a_target_that_is_absent_or_torn_leaves_the_alias(
    server: RealServer, store: Store, manifest_file: Path
) -> None:
    store.point(ALIAS, NAME)
    before = alias_file(server).read_bytes()
    manifest_file.write_bytes(b"")

    for target in ("absent", NAME):
        with pytest.raises(LookupError):
            store.point(ALIAS, target)
    with pytest.raises(LookupError):
        store.point("../../outside", ALIAS)

    assert alias_file(server).read_bytes() == before
    assert store.staged() == []


def test_a_move_that_fails_leaves_nothing_staged(store: Store) -> None:
    (store.path / "manifests/registry.ollama.ai/library/deploy-current/latest").mkdir(parents=True)

    with pytest.raises(OSError, match="deploy-current"):
        store.point(ALIAS, NAME)

    assert store.staged() == []


def test_what_a_killed_move_left_is_found_and_removed(store: Store) -> None:
    left = store.path / "deploy-staged-abc"
    left.touch()

    assert store.staged() == [left]
    store.remove_staged()
    assert store.staged() == []


def test_a_torn_manifest_that_the_server_cannot_delete_is_discarded(
    server: RealServer, store: Store
) -> None:
    server.client().copy(NAME, "deploy/torn:x")
    (server.models / "manifests/registry.ollama.ai/deploy/torn/x").write_bytes(b"")

    store.discard("deploy/torn:x")
    store.discard("deploy/torn:x")

    assert store.torn() == []
    assert Server(server.url).show("deploy/torn:x") is None
    assert not (server.models / "manifests/registry.ollama.ai/deploy").exists()
    assert digest(server, NAME)


def test_a_torn_manifest_fails_at_the_server_until_it_is_discarded(
    server: RealServer, store: Store
) -> None:
    store.point(ALIAS, NAME)
    alias_file(server).write_bytes(b"")

    with pytest.raises(ServerRefused, match="EOF"):
        Server(server.url).show(ALIAS)
