"""What a pull would still move, from the files of a store: no server is asked."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.source.manifest import Blob, Files
from orchestrator.source.missing import missing

MB = 10**6
PART = 100 * MB


@dataclass(frozen=True, slots=True)
class Folder:
    """Where blobs lie."""

    path: Path

    def blob(self, digest: str) -> Path:
        return self.path / digest.replace(":", "-")


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def _blob(name: str, size_bytes: int) -> Blob:
    return Blob(digest=f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", size_bytes=size_bytes)


WEIGHTS, CONFIG = _blob("weights", 300 * MB), _blob("config", 500)


def _partial(store: Folder, blob: Blob, written: list[tuple[int, int]], noted: list[int]) -> None:
    """Leave an interrupted download: bytes written at offsets, and what its parts say of it."""
    path = store.blob(blob.digest)
    partial = path.with_name(f"{path.name}-partial")
    with partial.open("wb") as file:
        file.truncate(blob.size_bytes)
        for offset, size in written:
            file.seek(offset)
            file.write(b"x" * size)
    for n, completed in enumerate(noted):
        note = {"N": n, "Offset": n * PART, "Size": PART, "Completed": completed}
        partial.with_name(f"{partial.name}-{n}").write_text(json.dumps(note))


def test_an_empty_store_lacks_everything(store: Folder) -> None:
    found = missing(store, [WEIGHTS, CONFIG])

    assert found.total_bytes == found.disk_bytes == found.line_bytes == 300 * MB + 500
    assert found.present_bytes == 0


def test_a_whole_file_is_there_and_one_of_another_size_is_not(store: Folder) -> None:
    store.blob(CONFIG.digest).write_bytes(b"c" * 500)
    with store.blob(WEIGHTS.digest).open("wb") as file:
        file.truncate(299 * MB)

    assert missing(store, [WEIGHTS, CONFIG]).disk_bytes == 300 * MB


def test_of_a_partial_the_disk_has_its_blocks_and_the_server_what_it_noted(store: Folder) -> None:
    _partial(store, WEIGHTS, [(0, 20 * MB), (PART, 8 * MB)], [15 * MB, 0, 0])

    found = missing(store, [WEIGHTS])

    assert found.disk_bytes == pytest.approx(272 * MB, abs=MB)
    assert found.line_bytes == 285 * MB
    assert found.present_bytes == 15 * MB


def test_notes_that_cannot_be_read_note_nothing(store: Folder) -> None:
    _partial(store, WEIGHTS, [(0, MB)], [10 * MB, 0])
    path = store.blob(WEIGHTS.digest)
    path.with_name(f"{path.name}-partial-1").write_text("{torn")

    assert missing(store, [WEIGHTS]).line_bytes == 290 * MB


def test_a_file_that_two_layers_name_is_counted_once(store: Folder) -> None:
    assert missing(store, [CONFIG, CONFIG]).total_bytes == 500


def test_the_files_of_a_manifest_are_its_layers_and_its_config() -> None:
    def layer(kind: str, blob: Blob) -> dict[str, object]:
        return {
            "mediaType": f"application/vnd.ollama.image.{kind}",
            "digest": blob.digest,
            "size": blob.size_bytes,
        }

    template = _blob("template", 387)
    layers = [layer("model", WEIGHTS), layer("template", template), layer("template", template)]
    files = Files.of({"layers": layers, "config": layer("config", CONFIG)})

    assert files.every == (WEIGHTS, template, CONFIG)
    assert files.total_bytes == 300 * MB + 387 + 500
    assert Files.of({"layers": layers, "config": {}}).every == (WEIGHTS, template)
