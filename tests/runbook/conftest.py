"""A healthy box of the module's own: whoever breaks it lets the watchdog put it right again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.runtime.binary import Binary
from tests.real.server import RealServer
from tests.real.tiny import TinyCatalog, TinyModel
from tests.runbook.box import TAG, Box, deployed, profile


@pytest.fixture(scope="module")
def box(
    runtime_binary: Binary,
    tiny_models: dict[str, TinyModel],
    tiny_catalog: TinyCatalog,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Box]:
    """A server that is not deploy's own, with qwen2.5:0.5b deployed on it."""
    folder = tmp_path_factory.mktemp("box")
    written = profile(tiny_catalog, folder / "tiny.toml")
    with (
        RealServer(runtime_binary.path, runtime_binary.library_path, folder / "server") as server,
        deployed(server, tiny_models[TAG], folder, written) as box,
    ):
        yield box


@pytest.fixture
def strict(box: Box, tmp_path: Path) -> Path:
    """The box's profile with tolerances that no measurement meets."""
    path = tmp_path / "tiny.toml"
    path.write_text(f"{box.profile.read_text()}memory_pass = 0\nmemory_warn = 0\n")
    return path
