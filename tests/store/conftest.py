"""A real server's store with one small model in it."""

from pathlib import Path

import pytest

from orchestrator.store import Store
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

NAME = "qwen2.5:0.5b"


@pytest.fixture
def store(server: RealServer, tiny_models: dict[str, TinyModel]) -> Store:
    """The store of `server`, which has qwen2.5:0.5b."""
    tiny.create(server, tiny_models[NAME])
    found = Store.at(str(server.models))
    assert found is not None
    return found


@pytest.fixture
def manifest_file(server: RealServer, store: Store) -> Path:
    """Where the manifest of that model lies."""
    assert store.writable
    return server.models / "manifests/registry.ollama.ai/library/qwen2.5/0.5b"
