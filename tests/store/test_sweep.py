import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.server import Server
from orchestrator.store import Store, Swept
from tests.real.server import RealServer
from tests.store.slow_registry import BLOBS, SlowRegistry

NAME = "qwen2.5:0.5b"
HOUR_S = 3600
X = f"sha256-{'0' * 63}1"
Y = f"sha256-{'0' * 63}2"


def put(store: Store, name: str, age_s: float, content: bytes = b"left over") -> Path:
    path = store.path / "blobs" / name
    path.write_bytes(content)
    return aged(path, age_s)


def blob(store: Store, name: str) -> Path:
    return store.path / "blobs" / name


def aged(path: Path, age_s: float) -> Path:
    then = time.time() - age_s
    os.utime(path, (then, then), follow_symlinks=False)
    return path


def sweep(store: Store, server: RealServer | None = None) -> Swept:
    return store.sweep(now_s=time.time(), server_pid=server.pid if server else None)


def rest(store: Store) -> None:
    """Age what creating the model just wrote: nothing is in flight any more."""
    for path in (store.path / "blobs").iterdir():
        aged(path, 30 * 24 * HOUR_S)


@contextmanager
def upload_halfway(server: RealServer, content: bytes) -> Iterator[None]:
    digest = hashlib.sha256(content).hexdigest()
    headers = f"Host: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
    head = f"POST /api/blobs/sha256:{digest} HTTP/1.1\r\n{headers}"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode() + content[: len(content) // 2])
        yield


def after_each_unlink(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> list[str]:
    """Let something happen between two files; the list holds the names that went."""
    unlink, gone = Path.unlink, list[str]()

    def unlinked(path: Path) -> None:
        unlink(path)
        gone.append(path.name)
        then()

    monkeypatch.setattr(Path, "unlink", unlinked)
    return gone


def test_an_old_blob_that_nothing_names_goes_and_all_that_is_named_stays(
    server: RealServer, store: Store
) -> None:
    rest(store)
    named = sorted((store.path / "blobs").iterdir())
    put(store, X, 2 * HOUR_S, b"x" * 10_000)

    swept = sweep(store, server)

    assert (swept.removed, swept.skipped) == ((X,), None)
    assert 10_000 <= swept.freed_bytes <= 20_000
    assert sorted((store.path / "blobs").iterdir()) == named
    assert server.client().generate(NAME, "hi", options={"num_predict": 1}).done


def test_a_loaded_model_does_not_look_like_work_in_flight(server: RealServer, store: Store) -> None:
    Server(server.url).load(NAME)
    put(store, X, 2 * HOUR_S)

    assert sweep(store, server).removed == (X,)


def test_a_young_blob_stays(server: RealServer, store: Store) -> None:
    put(store, X, HOUR_S - 60)
    put(store, Y, -HOUR_S)  # the clock went backwards since

    assert sweep(store, server) == Swept(removed=(), freed_bytes=0, skipped=None)
    assert blob(store, X).exists()


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("sha256-1234567890", True),
        ("Q4_K_M3310475617", True),
        ("split-copy123", True),
        ("README.md", False),
        ("sha256-", False),
        ("my-notes-2025", False),
    ],
)
def test_only_the_servers_own_files_go(store: Store, name: str, goes: bool) -> None:
    put(store, name, 400 * 24 * HOUR_S)

    assert (sweep(store).removed == (name,)) is goes


def test_a_partial_download_stays_a_day_because_a_pull_resumes_it(store: Store) -> None:
    for part, age_s in (("", 90), ("-0", 23), ("-1", 90)):
        put(store, f"{X}-partial{part}", age_s * HOUR_S)
        put(store, f"{Y}-partial{part}", (age_s + 2) * HOUR_S)

    swept = sweep(store)

    assert swept.removed == tuple(f"{Y}-partial{part}" for part in ("", "-0", "-1"))
    assert swept.skipped is None
    assert (store.path / "blobs" / f"{X}-partial-0").exists()


def test_holes_of_a_partial_download_free_nothing(store: Store) -> None:
    path = put(store, f"{X}-partial", 0)
    os.truncate(path, 10**9)
    aged(path, 48 * HOUR_S)

    assert sweep(store).freed_bytes < 10**6


@pytest.mark.parametrize("torn", [b"", b'{"manifests": [{"digest": "sha256:0"}]}'])
def test_nothing_goes_while_it_is_not_known_what_a_manifest_names(
    server: RealServer, store: Store, manifest_file: Path, torn: bytes
) -> None:
    rest(store)
    manifest_file.write_bytes(torn)

    swept = sweep(store, server)

    assert swept.removed == ()
    assert str(manifest_file) in (swept.skipped or "")
    assert len(list((store.path / "blobs").iterdir())) == 4


def test_nothing_goes_beside_a_second_folder_of_manifests(store: Store) -> None:
    put(store, X, 2 * HOUR_S)
    (store.path / "manifests-v2").mkdir()

    assert "manifests-v2" in (sweep(store).skipped or "")
    assert blob(store, X).exists()


def test_manifests_behind_a_link_count(server: RealServer, store: Store, tmp_path: Path) -> None:
    namespace = server.models / "manifests/registry.ollama.ai/library"
    namespace.rename(tmp_path / "elsewhere")
    namespace.symlink_to(tmp_path / "elsewhere")
    rest(store)

    assert list(store.names()) == [NAME]
    assert sweep(store, server).removed == ()


def test_links_and_folders_are_not_touched(store: Store, tmp_path: Path) -> None:
    outside = aged(tmp_path, 9 * HOUR_S) / "precious"
    outside.touch()
    aged(outside, 9 * HOUR_S)
    blob(store, X).symlink_to(outside)
    aged(blob(store, X), 9 * HOUR_S)
    blob(store, Y).mkdir()
    aged(blob(store, Y), 9 * HOUR_S)

    assert sweep(store) == Swept(removed=(), freed_bytes=0, skipped=None)
    assert outside.exists()
    assert blob(store, X).is_symlink()


def test_nothing_goes_during_an_upload_however_long_it_is_silent(
    server: RealServer, store: Store
) -> None:
    put(store, X, 2 * HOUR_S)
    rest_named = {path.name for path in (store.path / "blobs").iterdir()}
    with upload_halfway(server, b"u" * 400_000):
        blobs = store.path / "blobs"
        deadline = time.monotonic() + 10
        while not (new := {p.name for p in blobs.iterdir()} - rest_named):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (temporary,) = new
        assert temporary in (sweep(store, None).skipped or "")  # by its age alone
        aged(blobs / temporary, 3 * HOUR_S)
        swept = sweep(store, server)

    assert swept.removed == ()
    assert "open: a pull or a create is going on" in (swept.skipped or "")
    assert blob(store, X).exists()


def test_nothing_goes_during_a_pull_and_all_that_was_due_after_it(
    server: RealServer, store: Store
) -> None:
    put(store, X, 2 * HOUR_S)
    with SlowRegistry().running() as registry:
        pull = threading.Thread(
            target=lambda: server.client().pull(registry.model, insecure=True), daemon=True
        )
        pull.start()
        assert registry.halfway.wait(20)
        for path in (store.path / "blobs").glob("*-partial*"):
            aged(path, 48 * HOUR_S)
        during = sweep(store, server)
        registry.go_on.set()
        pull.join(30)

    assert during.removed == ()
    assert "going on" in (during.skipped or "")
    assert registry.model in store.names()
    assert sweep(store, server).removed == (X,)
    assert all(store.blob(digest).exists() for digest in BLOBS)


def test_a_model_created_while_the_sweep_runs_keeps_its_blobs(
    server: RealServer, store: Store, manifest_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = manifest_file.rename(server.models / "away")
    rest(store)
    gone = after_each_unlink(
        monkeypatch, lambda: manifest_file.exists() or away.rename(manifest_file)
    )
    swept = sweep(store, server)

    assert list(swept.removed) == gone
    assert len(gone) == 1
    assert len(list((store.path / "blobs").iterdir())) == 3


def test_a_file_written_anew_while_the_sweep_runs_stays(
    server: RealServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, X, 2 * HOUR_S)
    put(store, Y, 2 * HOUR_S)
    after_each_unlink(monkeypatch, lambda: aged(blob(store, Y), -600))

    assert sweep(store, server).removed == (X,)
    assert blob(store, Y).exists()
