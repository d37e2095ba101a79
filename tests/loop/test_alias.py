"""The alias on a real server: moved unseen, and put right where it broke."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.alias import mend, move
from orchestrator.errors import DiskFull, ServerRefused
from orchestrator.server import Server
from orchestrator.store import Store
from tests.real import tiny
from tests.real.disk import fill, small_disk
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

TAG = "qwen2.5:0.5b"
ALIAS = "deploy-current:latest"
OLD, NEW = "deploy/qwen2.5:0.5b-a", "deploy/qwen2.5:0.5b-b"
FILE = {
    ALIAS: "library/deploy-current/latest",
    OLD: "deploy/qwen2.5/0.5b-a",
    NEW: "deploy/qwen2.5/0.5b-b",
}
TORN = b""


@pytest.fixture
def api(server: RealServer, tiny_models: dict[str, TinyModel]) -> Server:
    """A server with two derived models of one blob and num_ctx, and no alias yet."""
    tiny.create(server, tiny_models[TAG])
    api = Server(server.url)
    api.derive(OLD, TAG, {"num_ctx": 512, "seed": 1})
    api.derive(NEW, TAG, {"num_ctx": 512, "seed": 2})
    return api


@pytest.fixture
def store(server: RealServer, api: Server) -> Store:
    found = Store.at(str(server.models))
    assert api.find(OLD)
    assert found
    return found


def digest(api: Server, name: str) -> str | None:
    found = api.find(name)
    return found.digest if found else None


def manifest_file(store: Store, name: str) -> Path:
    return store.path / "manifests/registry.ollama.ai" / FILE[name]


def deployed(api: Server, model: str) -> dict[str, str | None]:
    """Return what the ledger knows of a deployment whose alias was moved to `model`."""
    move(api, None, ALIAS, model)
    return {"model": model, "alias": ALIAS, "digest": digest(api, model)}


def requests(server: RealServer, path: str) -> int:
    return server.log_text().count(f'POST     "{path}"')


def test_with_a_store_it_is_a_rename_and_without_one_a_copy(
    server: RealServer, api: Server, store: Store
) -> None:
    assert move(api, store, ALIAS, OLD) == "rename"
    assert requests(server, "/api/copy") == 0
    assert digest(api, ALIAS) == digest(api, OLD)
    assert move(api, None, ALIAS, NEW) == "copy"
    assert digest(api, ALIAS) == digest(api, NEW)


@pytest.mark.parametrize(("ours", "how"), [(True, "rename"), (False, "copy")])
def test_a_torn_alias_is_repaired_by_a_move(
    api: Server, store: Store, *, ours: bool, how: str
) -> None:
    move(api, store, ALIAS, OLD)
    manifest_file(store, ALIAS).write_bytes(TORN)
    assert digest(api, ALIAS) is None

    assert move(api, store if ours else None, ALIAS, NEW) == how

    assert digest(api, ALIAS) == digest(api, NEW)
    assert store.torn() == []


def test_the_store_of_another_server_is_left_alone(
    api: Server, store: Store, tmp_path: Path
) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    for name in (OLD, NEW):
        place = manifest_file(elsewhere, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(manifest_file(store, OLD).read_bytes())

    assert move(api, elsewhere, ALIAS, NEW) == "copy"  # another manifest under that name
    assert elsewhere.manifest(ALIAS) is None
    assert move(api, elsewhere, ALIAS, OLD) == "copy"  # the same, but the server never sees it
    assert digest(api, ALIAS) == digest(api, OLD)


def test_in_the_store_of_another_user_the_server_itself_copies(
    api: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = manifest_file(store, NEW).stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    assert move(api, store, ALIAS, NEW) == "copy"

    assert digest(api, ALIAS) == digest(api, NEW)
    assert manifest_file(store, ALIAS).stat().st_uid == owner


@pytest.mark.parametrize("ours", [True, False])
def test_a_move_to_a_model_that_is_gone_names_both(
    api: Server, store: Store, *, ours: bool
) -> None:
    move(api, store, ALIAS, OLD)
    api.delete(NEW)

    with pytest.raises(ServerRefused) as caught:
        move(api, store if ours else None, ALIAS, NEW)

    assert ALIAS in caught.value.what
    assert NEW in caught.value.what
    assert digest(api, ALIAS) == digest(api, OLD)


def test_what_is_whole_needs_no_mending(server: RealServer, api: Server, store: Store) -> None:
    deployment = deployed(api, OLD)
    copies = requests(server, "/api/copy")

    assert mend(api, store, deployment) == []
    assert requests(server, "/api/copy") == copies


def _torn(_: Server, store: Store, name: str) -> None:
    manifest_file(store, name).write_bytes(TORN)


def _lost(api: Server, _: Store, name: str) -> None:
    api.delete(name)


def _other(api: Server, _: Store, name: str) -> None:
    api.copy(NEW, name)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("broken", [ALIAS, OLD])
@pytest.mark.parametrize(
    ("harm", "said"),
    [(_torn, "was lost or torn"), (_lost, "was lost or torn"), (_other, "named another model")],
)
def test_the_name_that_broke_is_repaired_from_the_other(
    api: Server,
    store: Store,
    harm: Callable[[Server, Store, str], None],
    said: str,
    broken: str,
    *,
    ours: bool,
) -> None:
    deployment = deployed(api, OLD)
    harm(api, store, broken)

    mended = mend(api, store if ours else None, deployment)

    assert mended is not None
    (sentence,) = mended
    assert broken in sentence
    assert said in sentence
    assert digest(api, ALIAS) == digest(api, OLD) == deployment["digest"]
    assert api.show(ALIAS)
    assert mend(api, store, deployment) == []


@pytest.mark.parametrize("harm", [_torn, _lost, _other])
def test_nothing_is_mended_when_neither_name_has_the_digest(
    api: Server, store: Store, harm: Callable[[Server, Store, str], None]
) -> None:
    deployment = deployed(api, OLD)
    for name in (ALIAS, OLD):
        harm(api, store, name)
    before = digest(api, ALIAS)

    assert mend(api, store, deployment) is None
    assert digest(api, ALIAS) == before


@contextmanager
def steadily(count: int, ask: Callable[[], object]) -> Iterator[list[object]]:
    """Ask from `count` threads during the block; the list holds what they got or why not."""
    over, got = threading.Event(), list[object]()

    def repeat() -> None:
        while not over.is_set():
            try:
                got.append(ask())
            except Exception as e:  # noqa: BLE001 - whatever a client may see
                got.append(e)

    threads = [threading.Thread(target=repeat) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_no_client_sees_the_alias_move(api: Server, store: Store) -> None:
    move(api, store, ALIAS, OLD)
    api.load(ALIAS)

    def show() -> object:
        return api.show(ALIAS)

    def chat() -> object:
        return api.chat_completion(ALIAS, "hi", max_tokens=1, timeout_s=60)

    with steadily(3, show) as shown, steadily(1, chat) as said:
        for number in range(200):
            assert move(api, store, ALIAS, (NEW, OLD)[number % 2]) == "rename"

    assert [each for each in (*shown, *said) if each is None or isinstance(each, Exception)] == []
    assert len(shown) >= 100
    assert len(said) >= 5


def test_a_full_disk_leaves_the_alias_as_it_was(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    """The server's own copy would have truncated it before it found out."""
    server.stop()
    shutil.rmtree(server.models)
    with small_disk(server.models, "32m"), server:
        tiny.create(server, tiny_models[TAG])
        api, store = Server(server.url), Store(server.models)
        for name, seed in ((OLD, 1), (NEW, 2)):
            api.derive(name, TAG, {"num_ctx": 512, "seed": seed})
        move(api, store, ALIAS, OLD)
        fill(server.models)
        with pytest.raises(DiskFull, match="no room to move the alias"):
            move(api, store, ALIAS, NEW)
        assert digest(api, ALIAS) == digest(api, OLD)
        assert store.torn() == []
