"""A GGUF on disk becomes a model of a real server, and is not sent twice."""

from pathlib import Path

import pytest

from orchestrator.errors import DeployError, InvalidInput
from orchestrator.gguf.layout import layout
from orchestrator.pull.gguf_file import GgufFile
from orchestrator.server import Server
from tests.pull.hubs import Silent, unnamed
from tests.real.server import RealServer
from tests.real.tiny import TinyModel
from tests.shapes import TINY
from tests.source.files import gguf_header, keys_of, write_gguf, write_parts


@pytest.fixture
def nowhere() -> GgufFile:
    """Of a server that nobody asks."""
    return GgufFile(Server("http://127.0.0.1:9"), None)


def named(folder: Path, file: str, title: str | None) -> Path:
    keys = keys_of(TINY, "Q8_0") | ({"general.name": title} if title else {})
    data, size = gguf_header(keys, layout(TINY, "Q8_0"))
    path = folder / file
    path.write_bytes(data + bytes(size - len(data)))
    return path


@pytest.mark.parametrize(
    ("file", "title", "name"),
    [
        ("a-Q8_0.gguf", "Qwen2.5 0.5B Instruct", "qwen2.5-0.5b-instruct:q8_0"),
        ("My Model-Q8_0.gguf", None, "my-model:q8_0"),
        ("a.gguf", "Some Model Q8_0", "some-model:q8_0"),
        ("a.gguf", "../../etc", "etc:q8_0"),
        ("b.gguf", "模型", "model:q8_0"),
    ],
)
def test_a_file_is_named_after_what_it_calls_itself(
    tmp_path: Path, nowhere: GgufFile, file: str, title: str | None, name: str
) -> None:
    assert nowhere.final(str(named(tmp_path, file, title))) == name


def test_what_would_be_done_is_said_without_a_server(tmp_path: Path, nowhere: GgufFile) -> None:
    paths = write_parts(tmp_path, "big-Q4_K_M", 3)
    told = nowhere.intent(str(paths[1]))
    total = sum(path.stat().st_size for path in paths)
    assert (told.name, told.files, told.total_bytes) == ("big:q4_K_M", 3, total)
    assert (told.present_bytes, told.download_bytes) == (total, 0)


@pytest.mark.parametrize("what", ["absent", "folder", "text"])
def test_what_is_no_gguf_is_refused(tmp_path: Path, nowhere: GgufFile, what: str) -> None:
    path = tmp_path / "x.gguf"
    if what == "folder":
        path.mkdir()
    elif what == "text":
        path.write_text("<html>")
    with pytest.raises(InvalidInput):
        nowhere.final(str(path))


def test_a_file_becomes_a_model_and_a_second_run_sends_nothing(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    model = tiny_models["deepseek-r1:1.5b"]
    source, progress = GgufFile(Server(server.url), str(server.models)), Silent()
    pulled = source.pull(str(model.path), progress)
    assert pulled.fetched_bytes == model.path.stat().st_size
    assert progress.most[f"read {model.path.name}"] == pulled.fetched_bytes
    name = source.final(str(model.path))
    assert [each.model for each in server.client().list().models] == [name]
    said = server.client().chat(
        name, [{"role": "user", "content": "Hello"}], options={"num_predict": 8, "num_ctx": 512}
    )
    assert said.message.content
    assert not unnamed(server.models)
    again = source.pull(str(model.path), Silent())
    assert (again.cached, again.fetched_bytes) == ((model.digest,), 0)


def test_parts_and_damage_never_reach_a_server_that_cannot_take_them(
    server: RealServer, tmp_path: Path
) -> None:
    source = GgufFile(Server(server.url), str(server.models))
    cut = write_gguf(tmp_path / "cut-Q4_K_M.gguf")
    with cut.open("r+b") as file:
        file.truncate(cut.stat().st_size - 1000)
    for path in (write_parts(tmp_path, "big-Q4_K_M", 2)[0], cut):
        with pytest.raises(DeployError):
            source.pull(str(path), Silent())
    assert '"/api/blobs' not in server.log.read_text()
    assert not unnamed(server.models)
