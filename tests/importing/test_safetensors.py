"""Sharded safetensors become models of a real server that answer as they should."""

import json
import time
from pathlib import Path

import pytest

from orchestrator.errors import InvalidInput, ServerRefused, SourceCorrupt
from orchestrator.importing import safetensors
from orchestrator.importing.needs import import_peak_bytes, made_bytes
from orchestrator.server import Server
from tests.importing.imported import (
    NAME,
    QWEN3,
    R1,
    Heard,
    destination,
    imported,
    left_over,
    local_files,
    polled,
)
from tests.real.safetensors import LLAMA, QWEN2, write_repository
from tests.real.server import RealServer

TOOL = {
    "type": "function",
    "function": {
        "name": "now",
        "description": "the time",
        "parameters": {"type": "object", "properties": {}},
    },
}


@pytest.mark.parametrize(
    ("architecture", "quantization", "chat"),
    [
        (QWEN2, "q4_K_M", "r1"),
        (LLAMA, "Q8_0", "r1"),
        (QWEN2, "q8_0", "chatml"),
        (LLAMA, "F16", "r1"),
    ],
)
def test_shards_become_a_model_that_thinks_and_nothing_else_is_left(
    server: RealServer, tmp_path: Path, architecture: str, quantization: str, chat: str
) -> None:
    folder = write_repository(tmp_path / "repository", architecture=architecture, chat=chat)
    family = R1 if chat == "r1" else QWEN3
    heard = Heard()
    done = imported(server, folder, quantization=quantization, family=family, progress=heard)
    shown = server.client().show(NAME)
    assert shown.details is not None
    assert shown.details.quantization_level == quantization.upper()
    assert shown.template == family.template
    wanted = {"completion", "thinking"} | ({"tools"} if chat == "chatml" else set())
    assert set(shown.capabilities or ()) == wanted
    stops = [line.split(maxsplit=1)[1] for line in str(shown.parameters).splitlines()
             if line.startswith("stop")]  # fmt: skip
    assert [stop.strip('"') for stop in stops] == list(family.parameters["stop"])
    assert shown.license == "MIT License"
    answer = server.client().chat(
        NAME,
        [{"role": "user", "content": "Hello"}],
        think=True,
        options={"num_predict": 4, "num_ctx": 512},
    )
    assert answer.done_reason == "length"
    assert left_over(server, NAME) == []
    assert done.name == NAME
    assert done.notes == ()
    sent = [f for f in local_files(folder) if "index" not in f.name]
    assert done.uploaded_bytes == sum(file.size_bytes for file in sent)
    uploads = [(d, t) for label, d, t in heard.advances if label == f"upload {NAME}"]
    assert uploads == sorted(uploads)
    assert uploads[-1] == (done.uploaded_bytes, done.uploaded_bytes)


def test_the_chat_is_asked_through_the_template_of_the_family(
    server: RealServer, tmp_path: Path
) -> None:
    imported(server, write_repository(tmp_path / "repository", chat="r1"))
    answer = server.client().chat(
        NAME, [{"role": "user", "content": "Hello"}], options={"num_predict": 1, "num_ctx": 512}
    )
    # R1's marks of the user and of the assistant, each one token.
    plain = server.client().generate(
        NAME, "Hello", raw=True, options={"num_predict": 1, "num_ctx": 512}
    )
    assert answer.prompt_eval_count == (plain.prompt_eval_count or 0) + 2


def test_an_unknown_family_is_the_servers_own_guess_and_noted(
    server: RealServer, tmp_path: Path
) -> None:
    folder = write_repository(tmp_path / "repository", chat="chatml")
    done = imported(server, folder, family=None)
    assert "'chatml'" in done.notes[0]
    assert "<|im_start|>" in str(server.client().show(NAME).template)


def test_the_model_is_not_in_memory_afterwards(server: RealServer, tmp_path: Path) -> None:
    imported(server, write_repository(tmp_path / "repository"))
    assert Server(server.url).loaded() == ()


def test_an_import_over_a_model_takes_the_old_one_away_last(
    server: RealServer, tmp_path: Path
) -> None:
    imported(server, write_repository(tmp_path / "old", seed=1))
    before = server.client().show(NAME).modelinfo
    imported(server, write_repository(tmp_path / "new", layers=2), quantization="Q8_0")
    after = server.client().show(NAME).modelinfo
    assert before
    assert after
    assert (before["qwen2.block_count"], after["qwen2.block_count"]) == (4, 2)
    assert left_over(server, NAME) == []


def test_the_same_import_twice_leaves_one_model(server: RealServer, tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "repository")
    imported(server, folder)
    first = Server(server.url).find(NAME)
    imported(server, folder)
    again = Server(server.url).find(NAME)
    # Two conversions are alike to the byte, two quantizations of these are not (0.9.3).
    assert first
    assert again
    assert again.size_bytes == first.size_bytes
    assert left_over(server, NAME) == []


def test_a_failed_import_leaves_the_model_that_had_the_name(
    server: RealServer, tmp_path: Path
) -> None:
    imported(server, write_repository(tmp_path / "old", seed=1))
    digest = Server(server.url).weights(NAME)
    broken = write_repository(tmp_path / "new", layers=2)
    config = broken / "config.json"
    # Whole files of two layers, and a configuration of three: the server makes a model of that.
    config.write_text(
        config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
    )
    with pytest.raises(ServerRefused, match="does not answer, so it was deleted again"):
        imported(server, broken)
    assert Server(server.url).weights(NAME) == digest
    assert left_over(server, NAME) == []


@pytest.mark.parametrize("quantization", ["Q4_K_M", "F32"])
def test_the_peak_of_the_disk_is_what_was_predicted(
    server: RealServer, tmp_path: Path, quantization: str
) -> None:
    folder = write_repository(tmp_path / "repository", layers=3, width=768, inner=2048)
    files = [f for f in local_files(folder) if "index" not in f.name]
    weights = sum(f.size_bytes for f in files if f.name.endswith(".safetensors"))
    beside = sum(f.size_bytes for f in files) - weights
    made = made_bytes(
        json.loads((folder / "config.json").read_bytes()), weights, beside, quantization
    )
    predicted = import_peak_bytes(weights + beside, *made)
    with polled(server.models) as seen:
        imported(server, folder, quantization=quantization)
    measured = max(seen) - seen[0]
    assert measured <= predicted <= 1.3 * measured


def test_a_quantization_that_the_server_refuses_at_the_end_is_refused_at_the_start(
    server: RealServer, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="makes no Q4_0"):
        imported(server, write_repository(tmp_path / "repository"), quantization="Q4_0")
    assert left_over(server) == []


def test_a_file_that_changed_is_refused_and_its_bytes_go(
    server: RealServer, tmp_path: Path
) -> None:
    folder = write_repository(tmp_path / "repository")
    files = local_files(folder)
    path = folder / "model-00003-of-00003.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(SourceCorrupt, match="not what its digest says"):
        safetensors.import_safetensors(
            destination(server), NAME, files,
            quantization="Q8_0", family=R1, licence=None, progress=Heard(),
        )  # fmt: skip
    damaged = left_over(server)
    # The server keeps the changed bytes under their own digest, which nobody told us.
    assert len(damaged) == 1


def test_without_the_store_the_uploads_stay_and_are_told(
    server: RealServer, tmp_path: Path
) -> None:
    heard = Heard()
    imported(server, write_repository(tmp_path / "repository"), progress=heard, store=False)
    assert any("a restart of the server frees them" in text for text in heard.said)
    assert server.client().show(NAME).details
    assert 0 < len(left_over(server, NAME)) < 9


def test_an_interrupted_upload_goes_on_with_the_files_that_are_missing(
    server: RealServer, tmp_path: Path
) -> None:
    folder = write_repository(tmp_path / "repository")
    there = local_files(folder)[3]
    Server(server.url).upload(there.path, there.digest, lambda _: None)
    before = time.monotonic()
    done = imported(server, folder)
    assert time.monotonic() - before < 60
    whole = imported(server, folder, name="again:q").uploaded_bytes
    assert done.uploaded_bytes == whole - there.size_bytes
    assert left_over(server, NAME, "again:q") == []
