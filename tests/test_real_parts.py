"""The real parts prove themselves before anything is proved with them."""

import dataclasses
import os
import random
import time
from pathlib import Path
from typing import Any

import gguf
import ollama
import pytest

from orchestrator.bench import calibration
from orchestrator.catalog import Catalog
from orchestrator.model import Architecture
from orchestrator.profile import parse
from orchestrator.runtime.binary import Binary
from tests.real import families, standin, tiny, tokenizer
from tests.real.registry import Registry
from tests.real.server import RealServer
from tests.real.tiny import TinyCatalog, TinyModel

R1_1_5B = Architecture(
    name="qwen2",
    block_count=28,
    embedding_length=1536,
    feed_forward_length=8960,
    head_count=12,
    head_count_kv=2,
    key_length=128,
    value_length=128,
    vocab_size=151_936,
    context_length=131_072,
)
_PUBLISHED_TENSOR_BYTES = 1_111_370_240


def _raw(client: ollama.Client, name: str, prompt: str, **options: Any) -> ollama.GenerateResponse:
    fixed = {"num_ctx": 2048, "num_predict": 64, "temperature": 0}
    return client.generate(name, prompt, raw=True, options=fixed | options)


def _prompt(rng: random.Random, words: int) -> str:
    return "".join(f" {word}" for word in rng.sample(calibration.WORDS, words))


def test_the_published_size_is_met_to_the_byte() -> None:
    table = standin.tensors(R1_1_5B, "Q4_K_M")

    assert len(table) == 339
    assert sum(t.size_bytes for t in table) == _PUBLISHED_TENSOR_BYTES


@pytest.mark.parametrize("quantization", ["F16", "Q4_0", "Q8_0", "Q4_K_M"])
def test_a_file_holds_the_table_that_was_promised(tmp_path: Path, quantization: str) -> None:
    shape = tiny.SPECS[0].shape
    path = standin.write(
        tmp_path / "x.gguf", shape, quantization, tokenizer.small(2048, chat="chatml")
    )

    read = gguf.GGUFReader(path).tensors
    found = [(t.name, t.tensor_type.name, int(t.n_bytes)) for t in read]
    table = standin.tensors(shape, quantization)
    assert found == [(t.name, t.kind, t.size_bytes) for t in table]


def test_tiny_models_differ_in_parameters_and_stay_small(
    tiny_models: dict[str, TinyModel],
) -> None:
    sizes = [model.path.stat().st_size for model in tiny_models.values()]
    by_name = {m.tag.rpartition("-qwen")[0] or m.tag: m.parameters for m in tiny_models.values()}

    assert all(5e6 < size < 140e6 for size in sizes)
    assert list(by_name.values()) == sorted(set(by_name.values()))


@pytest.mark.parametrize("spec", tiny.SPECS, ids=lambda spec: spec.tag)
def test_noise_runs_to_its_length_and_words_are_one_token(
    server: RealServer, tiny_models: dict[str, TinyModel], spec: tiny.Spec
) -> None:
    name, rng = tiny.create(server, tiny_models[spec.tag]), random.Random(1)
    bos = 1 if spec.family.chat == "r1" else 0

    for words, temperature in ((8, 0), (40, 0.8)):
        answer = _raw(server.client(), name, _prompt(rng, words), temperature=temperature)
        assert (answer.done_reason, answer.eval_count) == ("length", 64)
        assert answer.prompt_eval_count == words + bos


@pytest.mark.timeout(300)
def test_no_prompt_ends_early(server: RealServer, tiny_models: dict[str, TinyModel]) -> None:
    name, rng = tiny.create(server, tiny_models["qwen2.5:0.5b"]), random.Random(2)
    letters = "abcdefghijklmnopqrstuvwxyz 0123456789.,?\n"
    prompts = [_prompt(rng, 12) for _ in range(10)]
    prompts += ["".join(rng.choices(letters, k=30)) for _ in range(10)]

    answers = [_raw(server.client(), name, prompt) for prompt in prompts]

    assert [a.done_reason for a in answers].count("length") >= 19


@pytest.mark.parametrize(("architecture", "tied"), [("llama", False), ("qwen2", True)])
def test_other_shapes_load_too(
    server: RealServer, tmp_path: Path, architecture: str, tied: bool
) -> None:
    spec = tiny.Spec("qwen2.5:0.5b", "Q4_0", families.QWEN25, architecture, 4, 256, 1024)
    shape = dataclasses.replace(spec.shape, tied_embeddings=tied)
    pre = "llama-bpe" if architecture == "llama" else "qwen2"
    words = tokenizer.small(2048, chat="chatml", pre=pre)
    path = standin.write(tmp_path / "x.gguf", shape, "Q4_0", words)
    client = server.client()
    client.create("other", files={"x.gguf": client.create_blob(path)})

    answer = _raw(client, "other", _prompt(random.Random(3), 10))

    assert (answer.done_reason, answer.eval_count, answer.prompt_eval_count) == ("length", 64, 10)


@pytest.mark.parametrize(
    ("think", "thought"), [(True, "Okay Let Me Think Once More Now"), (False, None)]
)
@pytest.mark.parametrize("tag", ["deepseek-r1:1.5b", "qwen3:0.6b"])
def test_a_chat_thinks_answers_and_ends(
    server: RealServer,
    tiny_models: dict[str, TinyModel],
    tag: str,
    think: bool,
    thought: str | None,
) -> None:
    client, name = server.client(), tiny.create(server, tiny_models[tag])
    question = {"role": "user", "content": "why is the sky blue?"}

    answer = client.chat(name, [question], think=think, options={"num_ctx": 2048})

    assert "thinking" in (client.show(name).capabilities or [])
    assert answer.done_reason == "stop"
    assert (answer.message.thinking or "").strip() == (thought or "")
    assert (
        answer.message.content or ""
    ).strip() == "Then Here Is One Fine Answer For You Today Good Luck"


def test_what_is_pulled_is_what_was_pushed(
    server: RealServer, registry: Registry, tiny_models: dict[str, TinyModel]
) -> None:
    client = server.client()
    for tag, model in tiny_models.items():
        name = f"{registry.host}/library/{tag}"
        assert client.pull(name, insecure=True).status == "success"
        blob = server.models / "blobs" / model.digest.replace(":", "-")
        assert blob.stat().st_size == model.path.stat().st_size
        thinks = "thinking" in (client.show(name).capabilities or [])
        assert thinks == model.spec.family.thinking


def test_a_registry_that_is_away_comes_back(server: RealServer, registry: Registry) -> None:
    name = f"{registry.host}/library/qwen2.5:0.5b"
    registry.stop()
    try:
        with pytest.raises(ollama.ResponseError, match="connection refused"):
            server.client().pull(name, insecure=True)
    finally:
        registry.start()

    assert server.client().pull(name, insecure=True).status == "success"
    assert registry.requests()[-1].status in {200, 206}


def test_a_killed_server_leaves_its_runner_until_it_is_stopped(
    runtime_binary: Binary, tiny_models: dict[str, TinyModel], tmp_path: Path
) -> None:
    server = RealServer(runtime_binary.path, runtime_binary.library_path, tmp_path).start()
    _raw(server.client(), tiny.create(server, tiny_models["qwen2.5:0.5b"]), " the")
    group = server.pid

    server.kill(runners=False)
    assert _members(group)
    assert server.start().pid != group
    server.stop()
    time.sleep(0.2)

    assert not _members(group)


def test_the_catalogue_tells_the_truth_about_the_files(
    tiny_catalog: TinyCatalog, tiny_models: dict[str, TinyModel]
) -> None:
    known = {c.tag: c for c in Catalog.from_json(tiny_catalog.document).candidates}

    assert set(known) == set(tiny_models)
    for tag, model in tiny_models.items():
        assert known[tag].architecture == model.spec.shape
        assert known[tag].quantization == model.spec.quantization
        assert known[tag].parameters_total == model.parameters
        assert known[tag].file_bytes == model.path.stat().st_size
        assert known[tag].digest == model.digest
    profile = parse(tiny_catalog.profile.read_text(), "tiny")
    assert profile.catalog == str(tiny_catalog.path)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_real_size_is_written_loaded_and_measured(
    server: RealServer, shared: Path, tmp_path: Path
) -> None:
    words = tokenizer.published(shared)
    path = tmp_path / "r1.gguf"
    started = time.monotonic()
    standin.write(path, R1_1_5B, "Q4_K_M", words)
    written_s = time.monotonic() - started
    client = server.client()
    client.create("r1", files={"r1.gguf": client.create_blob(path)})
    tensor_bytes = path.stat().st_size - gguf.GGUFReader(path).data_offset
    path.unlink()

    answer = _raw(client, "r1", _prompt(random.Random(4), 8), num_predict=32)

    assert written_s < 60
    assert tensor_bytes == _PUBLISHED_TENSOR_BYTES
    assert (answer.done_reason, answer.eval_count, answer.prompt_eval_count) == ("length", 32, 9)
    assert "model buffer size =  1059.89 MiB" in server.log_text()


def _members(group: int) -> list[int]:
    pids = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return [pid for pid in pids if _group(pid) == group]


def _group(pid: int) -> int | None:
    """Return the process group, None for one that has ended or is a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return None if state == "Z" else os.getpgid(pid)
    except OSError:
        return None
