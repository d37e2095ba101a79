from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.hub import Hub
from tests.release.publisher import Publisher, Quiet


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    """Ollama's place of releases, on loopback."""
    with Hub(tmp_path / "published") as hub:
        yield Publisher(hub)


@pytest.fixture
def quiet() -> Quiet:
    return Quiet()
