"""A GGUF of this disk becomes a model of a real server."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import DiskFull, ServerRefused
from orchestrator.families import Family
from orchestrator.importing import Imported, LocalFile, residue
from orchestrator.importing.gguf import import_gguf
from orchestrator.server import Server
from tests.importing.imported import NAME, R1, Heard, destination, left_over, local_file, polled
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

TAG = "deepseek-r1:1.5b"


@pytest.fixture
def file(tiny_models: dict[str, TinyModel]) -> LocalFile:
    """A model of R1 of some megabytes."""
    return local_file(tiny_models[TAG].path)


def imported(
    server: RealServer, file: LocalFile, *, family: Family | None = R1, heard: Heard | None = None
) -> Imported:
    return import_gguf(
        destination(server),
        NAME,
        [file],
        family=family,
        licence="MIT License",
        progress=heard or Heard(),
    )


def test_a_file_becomes_a_model_that_thinks(server: RealServer, file: LocalFile) -> None:
    with polled(server.models) as seen:
        done = imported(server, file)
    shown = server.client().show(NAME)
    assert shown.template == R1.template
    assert set(shown.capabilities or ()) == {"completion", "thinking"}
    assert shown.license == "MIT License"
    assert Server(server.url).weights(NAME) == file.digest
    assert done.uploaded_bytes == file.size_bytes
    assert left_over(server, NAME) == []
    assert max(seen) - seen[0] == pytest.approx(file.size_bytes, rel=0.02)
    assert Server(server.url).loaded() == ()


def test_what_the_server_has_is_not_uploaded_again(server: RealServer, file: LocalFile) -> None:
    imported(server, file)
    heard = Heard()
    assert imported(server, file, heard=heard).uploaded_bytes == 0
    assert heard.advances == []
    assert left_over(server, NAME) == []


def test_weights_that_are_in_memory_stay_there(server: RealServer, file: LocalFile) -> None:
    imported(server, file)
    Server(server.url).load(NAME, options={"num_ctx": 1024}, keep_alive="5m")
    claim = Server(server.url).claim(NAME)
    imported(server, file, family=None)
    assert Server(server.url).claim(NAME) == claim


def test_a_model_that_does_not_answer_is_deleted(
    server: RealServer, file: LocalFile, tmp_path: Path
) -> None:
    raw = bytearray(file.path.read_bytes())
    # Offsets and sizes are right, only a tensor has another name: the server makes a model of it.
    raw = raw.replace(b"output_norm.weight", b"outpux_norm.weight")
    path = tmp_path / "broken.gguf"
    path.write_bytes(raw)
    with pytest.raises(ServerRefused, match="does not answer, so it was deleted again"):
        imported(server, local_file(path))
    assert left_over(server) == []


def test_the_error_of_a_small_disk_has_both_numbers(
    server: RealServer, file: LocalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.importing.room.free_bytes", lambda _: file.size_bytes)
    with pytest.raises(DiskFull) as failure:
        imported(server, file)
    assert failure.value.details["free_bytes"] == file.size_bytes
    assert failure.value.details["needed_bytes"] > file.size_bytes
    assert left_over(server) == []


@pytest.mark.parametrize("form", ["old digest", "unknown"])
def test_an_upload_stays_that_a_manifest_of_another_form_names(
    server: RealServer, file: LocalFile, form: str
) -> None:
    to = destination(server)
    store = to.store
    assert store
    to.server.upload(file.path, file.digest, lambda _: None)
    digest = file.digest.replace(":", "-") if form == "old digest" else file.digest
    kind = "application/vnd.ollama.image.model"
    layer = {"mediaType": kind, "digest": digest, "size": file.size_bytes}
    manifest = {"layers": [layer]} if form == "old digest" else {"manifests": [layer]}
    store.adopt("theirs:1", json.dumps(manifest).encode())

    with residue.taken_away(to, (), [file], Heard()):
        pass

    assert store.blob(file.digest).exists()
