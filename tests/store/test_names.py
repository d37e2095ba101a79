import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.errors import ServerRefused
from orchestrator.server import Server
from orchestrator.store import Manifest, Store
from tests.real.server import RealServer

NAME = "qwen2.5:0.5b"
HOST = "127.0.0.1:5055"


def tags(server: RealServer) -> dict[str, str]:
    return {each.name: each.digest for each in Server(server.url).installed()}


def test_a_manifest_has_the_digest_and_the_layers_that_the_server_shows(
    server: RealServer, store: Store
) -> None:
    manifest = store.manifest(NAME)
    assert manifest
    assert {NAME: manifest.digest} == tags(server)
    kinds = [layer.kind for layer in manifest.layers]
    assert sorted(kinds[:-1]) == ["license", "model", "template"]
    assert kinds[-1] == "config"
    assert all(
        store.blob(layer.digest).stat().st_size == layer.size_bytes for layer in manifest.layers
    )
    assert sum(layer.size_bytes for layer in manifest.layers) == (
        Server(server.url).installed()[0].size_bytes
    )
    assert set(manifest.layers[0].to_json()) == {"digest", "media_type", "size_bytes"}


def test_names_are_those_of_the_server_with_a_registry_and_a_port_too(
    server: RealServer, store: Store
) -> None:
    for name in ("deploy-current", "deploy/a:7b-ctx4096", f"{HOST}/library/x:tag", f"{HOST}/u/y"):
        server.client().copy(NAME, name)

    assert {name: each.digest for name, each in store.names().items()} == tags(server)
    for name in (*tags(server), "deploy-current", f"{HOST}/u/y", "DEPLOY/A:7B-ctx4096"):
        assert store.manifest(name) == store.manifest(NAME)


@pytest.mark.parametrize("name", ["", "absent", "a/../b", "../x", "/etc/passwd", "a/b/c/d", "x:"])
def test_what_is_no_name_or_absent_is_none(store: Store, name: str) -> None:
    assert store.manifest(name) is None


@pytest.mark.parametrize("torn", [b"", b"\0" * 400, b'{"schemaVersion":2,"layers":[{"dig', b"null"])
def test_a_torn_manifest_is_named_and_the_others_still_listed(
    server: RealServer, store: Store, torn: bytes
) -> None:
    server.client().copy(NAME, "deploy-current")
    path = server.models / "manifests/registry.ollama.ai/library/deploy-current/latest"
    path.write_bytes(torn)

    assert store.torn() == ["deploy-current:latest"]
    assert list(store.names()) == [NAME]
    assert store.manifest("deploy-current") is None
    assert NAME in tags(server)


def test_a_link_to_nothing_stops_the_servers_list_and_is_named_as_torn(
    server: RealServer, store: Store, manifest_file: Path
) -> None:
    link = manifest_file.with_name("link")
    link.symlink_to("nowhere")

    with pytest.raises(ServerRefused, match="no such file"):
        tags(server)
    assert store.torn() == ["qwen2.5:link"]
    assert store.manifest("qwen2.5:link") is None

    store.discard("qwen2.5:link")
    assert NAME in tags(server)


@pytest.mark.parametrize("size_bytes", [512, 513, 514, 1536, 1537, 1538, 2000, 3585])
def test_the_digest_is_the_servers_at_every_size(
    server: RealServer, store: Store, manifest_file: Path, size_bytes: int
) -> None:
    raw = json.dumps({"pad": "", "config": {}, "layers": []})
    text = raw.replace('""', f'"{"x" * (size_bytes - 1 - len(raw))}"', 1)
    manifest_file.write_text(f"{text}\n")

    manifest = store.manifest(NAME)

    assert manifest
    assert {NAME: manifest.digest} == tags(server)


def test_bytes_after_the_json_do_not_tear_what_the_server_still_serves(
    server: RealServer, store: Store, manifest_file: Path
) -> None:
    with manifest_file.open("ab") as file:
        file.write(b'"size":7}]}')

    assert store.torn() == []
    assert NAME in tags(server)
    assert list(store.names()) == [NAME]


@pytest.mark.parametrize("form", [{"layers": [{}]}, {"layers": 7}, {"manifests": [{}]}])
def test_a_later_form_of_manifest_is_neither_read_nor_called_torn(
    store: Store, manifest_file: Path, form: dict[str, object]
) -> None:
    manifest_file.write_text(json.dumps(form))

    assert store.torn() == []
    assert store.names() == {}
    assert store.manifest(NAME) is None


def test_a_manifest_without_layers_is_whole() -> None:
    empty = b'{"schemaVersion":2,"config":{"mediaType":"","digest":"","size":0},"layers":null}'

    assert Manifest.parse(empty).layers == ()


def test_a_store_is_known_only_if_it_can_be_read(tmp_path: Path) -> None:
    assert Store.at(None) is None
    assert Store.at("") is None
    assert Store.at(str(tmp_path / "absent")) is None

    fresh = Store.at(str(tmp_path))
    assert fresh
    assert fresh.names() == {}
    assert fresh.writable

    (tmp_path / "manifests-v2").mkdir()
    assert Store.at(str(tmp_path)) is None


NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder below one that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def as_nobody(ask: Callable[[], bool]) -> bool:
    """Ask in a child that is not root: root may read and write everything."""
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        os._exit(0 if ask() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("mode", "readable", "writable"),
    [
        pytest.param(0o777, True, True, id="open"),
        pytest.param(0o555, True, False, id="read-only"),
        pytest.param(0o000, False, False, id="closed"),
    ],
)
def test_a_store_of_somebody_else_is_what_its_modes_allow(
    open_folder: Path, mode: int, readable: bool, writable: bool
) -> None:
    open_folder.chmod(0o777)
    (open_folder / "manifests").mkdir()
    (open_folder / "manifests").chmod(mode)

    def found() -> Store | None:
        return Store.at(str(open_folder))

    assert as_nobody(lambda: found() is not None) is readable
    assert as_nobody(lambda: (store := found()) is not None and store.writable) is writable
    (open_folder / "manifests").chmod(0o700)
