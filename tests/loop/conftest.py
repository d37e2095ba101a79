"""The one model of true size: written, published to a registry, and its copies removed again."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.catalog import Catalog
from orchestrator.runtime import Binary
from tests.real import families, standin, tokenizer
from tests.real.registry import Registry
from tests.real.server import RealServer

TAG = "deepseek-r1:1.5b"


@pytest.fixture(scope="session")
def true_size_registry(shared: Path, runtime_binary: Binary) -> Iterator[Registry]:
    """A real registry with deepseek-r1:1.5b at Q4_K_M: true shapes, true tokenizer, noise."""
    folder = shared / "true-size"
    folder.mkdir(exist_ok=True)
    published = folder / "published"
    with Registry(folder) as registry:
        if not published.exists():
            _publish(registry, runtime_binary, shared)
            published.touch()
        yield registry


def _publish(registry: Registry, binary: Binary, cache: Path) -> None:
    shape = Catalog.bundled().find(TAG).architecture
    words = tokenizer.published(cache)
    with tempfile.TemporaryDirectory(dir=cache) as place:
        path = Path(place) / "model.gguf"
        standin.write(path, shape, "Q4_K_M", words)
        with RealServer(binary.path, binary.library_path, Path(place)) as server:
            client = server.client()
            digest = client.create_blob(path)
            path.unlink()
            client.create(
                TAG,
                files={"model.gguf": digest},
                template=families.R1.template,
                parameters=families.R1.parameters,
                license=families.R1.license,
            )
            registry.push(server, TAG, TAG)
