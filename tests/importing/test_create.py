"""What the real server says of files that it cannot make a model of, and what we make of that."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator.errors import DeployError, InvalidInput, ServerRefused, SourceCorrupt
from orchestrator.server import Server, imports
from tests.importing.imported import NAME, Heard, left_over, local_file
from tests.real.safetensors import write_repository
from tests.real.server import RealServer

SHARD = "model.safetensors"
Files = dict[str, bytes]


def without(name: str) -> Callable[[Files], object]:
    return lambda files: files.pop(name)


def with_config(**changes: object) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        config = json.loads(files["config.json"]) | changes
        files["config.json"] = json.dumps(config).encode()

    return change


def cut(files: Files) -> None:
    files[SHARD] = files[SHARD][:-100_000]


def renamed(files: Files) -> None:
    files["pytorch_model.bin"] = files.pop(SHARD)


@pytest.mark.parametrize(
    ("change", "fields", "kind", "said"),
    [
        (without("tokenizer.json"), {}, InvalidInput, "no tokenizer.json"),
        (without("config.json"), {}, InvalidInput, "no config.json"),
        (with_config(architectures=["Qwen3ForCausalLM"]), {}, InvalidInput, "does not import"),
        (with_config(architectures=[]), {}, InvalidInput, "does not import"),
        (renamed, {}, InvalidInput, "neither safetensors nor a GGUF"),
        (cut, {}, SourceCorrupt, "cut off or damaged"),
        (lambda _: None, {"quantize": "q4_0"}, InvalidInput, "does not quantize"),
        (lambda _: None, {"template": "{{ .Prompt"}, ServerRefused, "template error"),
    ],
    ids=["tokenizer", "config", "qwen3", "nameless", "pickle", "cut", "q4_0", "template"],
)  # fmt: skip
def test_each_refusal_has_its_own_error(
    server: RealServer,
    tmp_path: Path,
    change: Callable[[Files], object],
    fields: Mapping[str, str],
    kind: type[DeployError],
    said: str,
) -> None:
    folder = write_repository(tmp_path / "repository", shards=1, layers=1)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    change(files)
    with pytest.raises(DeployError, match=said) as failure:
        imports.create(
            Server(server.url), NAME, Heard(), label=NAME,
            files=_uploaded(server, files, tmp_path), **fields,
        )  # fmt: skip
    assert type(failure.value) is kind
    assert NAME in failure.value.what
    assert Server(server.url).find(NAME) is None


def test_a_file_that_the_server_lost_is_named_as_lost(server: RealServer, tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "repository", shards=1, layers=1)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    lost = _uploaded(server, files, tmp_path) | {SHARD: f"sha256:{'0' * 64}"}
    with pytest.raises(ServerRefused, match="lost a file of"):
        imports.create(Server(server.url), NAME, Heard(), label=NAME, files=lost)


def test_no_model_is_made_from_one_that_is_not_there(server: RealServer) -> None:
    """Asked to, the server would look for it in its registry, and make an empty one at last."""
    with pytest.raises(ServerRefused, match="absent:q is not on the server"):
        imports.create(Server(server.url), NAME, Heard(), label=NAME, from_="absent:q")
    assert left_over(server) == []


def test_a_file_that_the_server_has_does_not_move(server: RealServer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3_000_000))
    file, heard = local_file(path), list[int]()
    ours = Server(server.url)
    assert ours.upload(path, file.digest, heard.append) == 3_000_000
    assert heard[-1] == 3_000_000
    heard.clear()
    assert ours.upload(path, file.digest, heard.append) == 0
    assert heard == []


def test_the_work_is_shown_in_bytes_where_there_are_any(server: RealServer, tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "repository", shards=1, layers=8)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    heard, sources = Heard(), _uploaded(server, files, tmp_path)
    guessed = imports.create(
        Server(server.url), NAME, heard, label=NAME, files=sources, quantize="Q8_0"
    )
    assert guessed == "chatml"
    assert heard.waits[0] == f"the server works on {NAME}: converting model"
    assert {label for label, _, _ in heard.advances} == {f"quantize {NAME}"}
    done = [done for _, done, _ in heard.advances]
    assert done == sorted(done)
    assert heard.advances[0][2] == pytest.approx(len(files[SHARD]), rel=0.02)


def _uploaded(server: RealServer, files: Files, folder: Path) -> dict[str, str]:
    found = {}
    for name, raw in files.items():
        path = folder / name
        path.write_bytes(raw)
        found[name] = local_file(path).digest
        Server(server.url).upload(path, found[name], lambda _: None)
    return found
