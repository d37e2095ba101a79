from pathlib import Path

import pytest

from orchestrator.store import Layer, Store

NAME = "qwen2.5:0.5b"


@pytest.fixture
def layers(store: Store) -> tuple[Layer, ...]:
    manifest = store.manifest(NAME)
    assert manifest
    return manifest.layers


@pytest.fixture
def weights(store: Store, layers: tuple[Layer, ...]) -> Path:
    return store.blob(next(layer.digest for layer in layers if layer.kind == "model"))


def ignore(_digest: str, _done_bytes: int, _total_bytes: int) -> None:
    pass


def test_whole_blobs_have_no_damage_and_every_byte_is_read(
    store: Store, layers: tuple[Layer, ...]
) -> None:
    heard: dict[str, tuple[int, int]] = {}

    def tick(digest: str, done_bytes: int, total_bytes: int) -> None:
        assert done_bytes > heard.get(digest, (0, 0))[0]
        heard[digest] = (done_bytes, total_bytes)

    assert store.damage(layers, tick) == []
    assert heard == {layer.digest: (layer.size_bytes, layer.size_bytes) for layer in layers}


def test_one_flipped_bit_is_found(store: Store, layers: tuple[Layer, ...], weights: Path) -> None:
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))

    (found,) = store.damage(layers, ignore)

    assert (found.what, found.path) == ("content", weights)
    assert str(weights.stat().st_size) in found.detail


def test_a_truncated_blob_is_found_by_its_size(
    store: Store, layers: tuple[Layer, ...], weights: Path
) -> None:
    size_bytes = weights.stat().st_size
    with weights.open("r+b") as file:
        file.truncate(1000)

    (found,) = store.damage(layers, ignore)

    assert (found.what, found.detail) == ("size", f"has 1000 bytes instead of {size_bytes}")


def test_a_blob_set_aside_is_missing_until_it_is_brought_back(
    store: Store, layers: tuple[Layer, ...], weights: Path
) -> None:
    digest = next(layer.digest for layer in layers if layer.kind == "model")
    store.set_aside(digest)
    store.set_aside(digest)

    (found,) = store.damage([*layers, *layers], ignore)

    assert (found.what, found.digest, found.path) == ("missing", digest, weights)
    store.bring_back()
    assert store.damage(layers, ignore) == []


def test_a_blob_that_was_fetched_again_replaces_the_one_aside(
    store: Store, layers: tuple[Layer, ...], weights: Path
) -> None:
    digest, whole = next(layer.digest for layer in layers if layer.kind == "model"), weights
    text = whole.read_bytes()
    store.set_aside(digest)
    whole.write_bytes(text)
    store.bring_back()
    assert store.damage(layers, ignore) == []
    assert [p.name for p in store.path.glob("deploy-*")] == []


def test_of_what_is_aside_one_may_be_brought_back_alone(
    store: Store, layers: tuple[Layer, ...]
) -> None:
    first, second, *_ = (layer.digest for layer in layers)
    store.set_aside(first)
    store.set_aside(second)

    store.bring_back([first])

    assert [each.digest for each in store.damage(layers, ignore)] == [second]


@pytest.mark.parametrize("digest", ["sha256:../../x", "sha256:" + "g" * 64, "", "md5:" + "0" * 32])
def test_what_is_no_digest_has_no_file(store: Store, digest: str) -> None:
    with pytest.raises(ValueError, match="no digest"):
        store.set_aside(digest)
