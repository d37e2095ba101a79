"""Files of a store that are fetched again, or not: no server is asked."""

from pathlib import Path

import pytest

from orchestrator.errors import PullFailed
from orchestrator.pull.wholeness import layers, mend, undo_mend
from orchestrator.source import Pulled
from orchestrator.store import Store
from tests.loop.heard import Heard
from tests.pull.stores import CONTENT, DIGEST, TAG, filled


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "models")


def _mended(store: Store) -> list[str]:
    def fetch() -> Pulled:
        if not store.blob(DIGEST).exists():  # as a server does: it trusts what lies there
            store.blob(DIGEST).write_bytes(CONTENT)
        return Pulled()

    return [each.digest for each in mend(store, TAG, layers(store, TAG), fetch, Heard())]


def test_a_file_that_is_missing_is_fetched_into_a_store_that_is_not_ours_to_write(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.blob(DIGEST).unlink()
    monkeypatch.setattr(Store, "writable", False)

    assert _mended(store) == [DIGEST]
    assert store.blob(DIGEST).read_bytes() == CONTENT


def test_a_damaged_one_there_is_said_with_what_to_remove(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.blob(DIGEST).write_bytes(CONTENT[::-1])
    monkeypatch.setattr(Store, "writable", False)

    with pytest.raises(PullFailed, match="where we may not write") as e:
        _mended(store)

    assert str(store.blob(DIGEST)) in e.value.hint


def test_a_mend_leaves_alone_what_another_has_set_aside(store: Store) -> None:
    other = f"sha256:{'0' * 64}"
    store.receive(other, [b"another's"])
    store.set_aside(other)
    store.blob(DIGEST).write_bytes(CONTENT[::-1])

    assert _mended(store) == [DIGEST]

    assert not store.blob(other).exists()
    assert len(list(store.path.glob("deploy-aside-*"))) == 1


def test_what_a_killed_mend_set_aside_serves_again_until_it_is_replaced(store: Store) -> None:
    store.set_aside(DIGEST)
    undo_mend(store, TAG)
    assert store.blob(DIGEST).read_bytes() == CONTENT

    store.set_aside(DIGEST)
    store.blob(DIGEST).write_bytes(CONTENT)
    undo_mend(store, TAG)
    assert list(store.path.glob("deploy-aside-*")) == []
