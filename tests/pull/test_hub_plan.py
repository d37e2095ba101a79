"""What a pull from the hub would do is decided from its metadata, before a weight moves."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from orchestrator.catalog import Catalog
from orchestrator.era import ServerVersion
from orchestrator.errors import DiskFull, InvalidInput, SourceCorrupt
from orchestrator.home import Home
from orchestrator.importing import LocalFile
from orchestrator.model import ModelRef
from orchestrator.pull import hub_room
from orchestrator.pull.hub_chat import chat_template
from orchestrator.pull.hub_files import HubFolder
from orchestrator.pull.hub_name import plain_name
from orchestrator.pull.hub_plan import HubPlan, planned
from orchestrator.source.hub import Wish, repository
from orchestrator.store import Store
from tests.pull.hubs import asked
from tests.real.disk import small_disk
from tests.real.hub import COMMIT, Hub
from tests.real.safetensors import write_repository
from tests.source.files import write_gguf, write_parts

OLD, NEW = ServerVersion((0, 9, 3)), ServerVersion((0, 33, 0))
BETWEEN = ServerVersion((0, 20, 0))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with asked(tmp_path, monkeypatch) as hub:
        yield hub


def plan(tag: str, version: ServerVersion = OLD, quantization: str | None = None) -> HubPlan:
    wish = Wish.parse(tag)
    with repository(wish.repo, revision=wish.revision) as found:
        return planned(found, wish, quantization, version, Catalog.bundled())


def with_class(folder: Path, name: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [name]}))


def test_safetensors_are_planned_with_every_file_that_the_import_reads(hub: Hub) -> None:
    folder = write_repository(hub.root / "Qwen" / "Qwen2.5-0.5B-Instruct", shards=3)
    (folder / "LICENSE").write_text("Apache License")
    (folder / "pytorch_model.bin").write_bytes(b"not asked for")
    found = plan("hf:Qwen/Qwen2.5-0.5B-Instruct@main:q8_0")
    assert found.name == "qwen2.5-0.5b-instruct:q8_0"
    assert {file.name for file in found.files} == {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "model.safetensors.index.json", "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors",
    }  # fmt: skip
    assert (found.licence.name if found.licence else None) == "LICENSE"
    assert found.commit == COMMIT
    assert all(COMMIT in file.url and file.digest for file in found.wanted)
    large = {file.digest[:7] for file in found.files if file.digest and file.size_bytes > 10**6}
    assert large == {"sha256:"}
    assert found.store_bytes > 3 * sum(f.size_bytes for f in found.files) * 0.9


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("Qwen3ForCausalLM", OLD, "Ollama 0.9.3 does not import Qwen3ForCausalLM"),
        ("Qwen3ForCausalLM", NEW, "Ollama 0.33.0 does not import Qwen3ForCausalLM"),
        ("MistralForCausalLM", NEW, "does not import MistralForCausalLM"),
    ],
)
def test_a_class_that_the_server_does_not_import_is_refused_with_the_catalogues_gguf(
    hub: Hub, name: str, version: ServerVersion, says: str
) -> None:
    with_class(write_repository(hub.root / "Qwen" / "Qwen3-8B", shards=1), name)
    with pytest.raises(InvalidInput, match=says) as caught:
        plan("hf:Qwen/Qwen3-8B", version)
    assert caught.value.hint == "take its GGUF: deploy pull hf:Qwen/Qwen3-8B-GGUF:Q4_K_M"
    weights = [
        each for each in hub.asked if "/resolve/" in each.path and "safetensors" in each.path
    ]
    assert sum(each.sent_bytes for each in weights) < 200_000


def test_without_an_entry_in_the_catalogue_the_way_to_a_gguf_is_told(hub: Hub) -> None:
    with_class(write_repository(hub.root / "o" / "r", shards=1), "Qwen3ForCausalLM")
    with pytest.raises(InvalidInput) as caught:
        plan("hf:o/r")
    assert "convert_hf_to_gguf" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, "quantized already"),
        ({}, "neither tokenizer.json nor tokenizer.model"),
    ],
)
def test_what_no_server_imports_is_refused_before_the_download(
    hub: Hub, change: dict[str, object], says: str
) -> None:
    folder = write_repository(hub.root / "o" / "r", shards=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    if not change:
        (folder / "tokenizer.json").unlink()
    with pytest.raises(InvalidInput, match=says):
        plan("hf:o/r")


def test_a_quantization_that_the_import_does_not_make_is_refused(hub: Hub) -> None:
    write_repository(hub.root / "o" / "r", shards=1)
    with pytest.raises(InvalidInput, match="not Q5_K_M") as caught:
        plan("hf:o/r:Q5_K_M")
    assert caught.value.hint == "name one of them: hf:o/r:Q4_K_M"


def test_parts_are_refused_where_the_server_cannot_merge_and_the_remedy_is_there(hub: Hub) -> None:
    folder = hub.root / "o" / "Big-GGUF"
    write_parts(folder / "Q8_0", "big-Q8_0", 3)
    write_gguf(folder / "big-Q4_0.gguf", quantization="Q4_0")
    write_gguf(folder / "big-Q4_K_M.gguf")
    with pytest.raises(InvalidInput, match=r"lies in 3 files, which Ollama 0\.9\.3 cannot") as e:
        plan("hf:o/Big-GGUF:Q8_0")
    assert e.value.hint.endswith("one file each: hf:o/Big-GGUF:Q4_K_M, hf:o/Big-GGUF:Q4_0")
    assert not [each for each in hub.asked if "/resolve/" in each.path]
    found = plan("hf:o/Big-GGUF:Q8_0", NEW)
    assert (found.name, len(found.files), found.parts) == ("big:q8_0", 3, True)
    assert found.store_bytes == 2 * found.total_bytes
    (folder / "big-Q4_0.gguf").unlink()
    (folder / "big-Q4_K_M.gguf").unlink()
    with pytest.raises(InvalidInput) as e:
        plan("hf:o/Big-GGUF:Q8_0")
    assert "llama-gguf-split --merge" in e.value.hint


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("hf:o/My.Model-GGUF", "my.model:q4_K_M"),
        ("hf:o/My.Model-GGUF/sub/other-Q4_K_M.gguf", "other:q4_K_M"),
    ],
)
def test_a_gguf_is_named_after_its_repository_or_the_file_that_was_named(
    hub: Hub, tag: str, name: str
) -> None:
    write_gguf(hub.root / "o" / "My.Model-GGUF" / "sub" / "other-Q4_K_M.gguf")
    assert plan(tag).name == name


def test_a_library_tag_is_never_taken_by_a_model_of_the_hub() -> None:
    catalog = Catalog.bundled()
    assert plain_name("Qwen2.5", "0.5b", catalog) == "hub/qwen2.5:0.5b"
    odd = plain_name(f"_{'x' * 96} (v1)", "", catalog)
    for name in ("hub/qwen2.5:0.5b", odd, plain_name("...", "IQ4_XS", catalog)):
        ModelRef.parse(name)
    assert plain_name("...", "IQ4_XS", catalog) == "model:iq4_XS"


@pytest.mark.parametrize("name", ["../../../x.gguf", "/etc/x.gguf", "a\\b.gguf", "a\n.gguf"])
def test_no_name_of_a_listing_leads_out_of_the_folder(
    hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sibling = {"rfilename": name, "size": 9, "blobId": "0" * 40}
    text = json.dumps({"id": "o/r", "sha": COMMIT, "siblings": [sibling], "tags": []})
    monkeypatch.setattr(hub, "listing", lambda _repo: text.encode())
    with pytest.raises(SourceCorrupt, match="which is no place here"):
        plan("hf:o/r")


def test_neither_repository_nor_commit_of_an_answer_leads_out_of_the_folder(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    sibling = {"rfilename": "a.gguf", "size": 9, "blobId": "0" * 40}
    text = json.dumps({"id": "../x", "sha": "../../y", "siblings": [sibling], "tags": []})
    monkeypatch.setattr(hub, "listing", lambda _repo: text.encode())
    folder = HubFolder(home, plan("hf:o/r")).path
    assert folder == home.cache / "hub" / "o--r" / "main"


def test_a_file_of_the_hubs_own_cache_counts_as_present(hub: Hub, home: Home) -> None:
    written = write_repository(hub.root / "o" / "r", shards=1)
    folder = HubFolder(home, plan("hf:o/r"))
    assert folder.present_bytes() == 0
    theirs = Path(constants.HF_HUB_CACHE) / "models--o--r" / "snapshots" / COMMIT
    theirs.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        (theirs / name).write_bytes((written / name).read_bytes())
    size = sum((written / name).stat().st_size for name in ("model.safetensors", "config.json"))
    assert folder.present_bytes() == size
    (theirs / "config.json").write_text("{}")
    assert folder.present_bytes() == (written / "model.safetensors").stat().st_size


def test_what_lies_there_of_an_interrupted_download_is_not_counted_as_missing(
    hub: Hub, home: Home
) -> None:
    write_repository(hub.root / "o" / "r", shards=1)
    folder = HubFolder(home, plan("hf:o/r"))
    folder.path.mkdir(parents=True)
    (folder.path / "model.safetensors.part").write_bytes(bytes(2**20))
    assert folder.present_bytes() == 2**20


def test_one_disk_must_hold_download_and_import_and_the_numbers_are_told(
    hub: Hub, tmp_path: Path
) -> None:
    write_repository(hub.root / "o" / "r", shards=1)
    found = plan("hf:o/r")
    with small_disk(tmp_path / "disk", "64M") as disk:
        home, store = Home.of({"DEPLOY_HOME": str(disk / "deploy")}), disk / "models"
        folder = HubFolder(home, found).path
        with pytest.raises(DiskFull, match=r"to download and .* to import at .*models") as caught:
            hub_room.check(found, folder, 20 * 2**20, store, 20 * 2**20)
        assert caught.value.details["needed_bytes"] == 40 * 2**20
        hub_room.check(found, folder, 20 * 2**20, tmp_path, 20 * 2**20)
        with pytest.raises(DiskFull, match="to import"):
            hub_room.check(found, tmp_path / "cache", 2**20, store, 60 * 2**20)
        with pytest.raises(DiskFull, match=r"60 MiB at .* \(60 MiB to download\)"):
            hub_room.check(found, folder, 60 * 2**20, None, 2**40)


def test_what_the_server_was_given_before_needs_no_room_in_its_store(
    hub: Hub, tmp_path: Path
) -> None:
    write_repository(hub.root / "o" / "r", shards=2)
    found = plan("hf:o/r")
    given = next(file for file in found.files if (file.digest or "").startswith("sha256:"))
    for folder in ("manifests", "blobs"):
        (tmp_path / folder).mkdir()
    store = Store(tmp_path)
    assert hub_room.store_needs(found, None) == hub_room.store_needs(found, store)
    store.blob(given.digest or "").write_bytes(b"")
    assert hub_room.store_needs(found, store) == found.store_bytes - given.size_bytes


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({"chat_template.jinja": "J", "tokenizer_config.json": '{"chat_template": "T"}'}, "J"),
        ({"tokenizer_config.json": '{"chat_template": "T"}'}, "T"),
        ({"chat_template.json": '{"chat_template": "D"}', "tokenizer_config.json": "{}"}, "D"),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "tool_use", "template": "U"}, '
          '{"name": "default", "template": "T"}]}'}, "T"),
        ({"tokenizer_config.json": "{no json"}, ""),
        ({"tokenizer_config.json": "[]"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_the_chat_template_is_found_wherever_a_repository_keeps_it(
    tmp_path: Path, files: dict[str, str], template: str
) -> None:
    given = {}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        given[name] = LocalFile(name=name, path=tmp_path / name, size_bytes=len(text), digest="")
    assert chat_template(given) == template
