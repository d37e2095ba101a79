"""A disk that becomes full at each stage of an import: said with numbers, and nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import DiskFull
from orchestrator.runtime.binary import Binary
from orchestrator.server import Server
from tests.importing.imported import NAME, Heard, imported, left_over
from tests.importing.test_interrupted import Struck
from tests.real.disk import fill, small_disk
from tests.real.safetensors import write_repository
from tests.real.server import RealServer


@pytest.fixture
def cramped(runtime_binary: Binary, tmp_path: Path) -> Iterator[RealServer]:
    """A server whose store has room for one import of 43 MB, and not for much more."""
    folder = tmp_path / "server"
    with (
        small_disk(folder / "models", "210m"),
        RealServer(runtime_binary.path, runtime_binary.library_path, folder) as server,
    ):
        yield server


@pytest.mark.parametrize("word", ["upload", "converting", "quantize"])
def test_a_disk_that_fills_up_is_said_and_loses_nothing(
    cramped: RealServer, tmp_path: Path, word: str
) -> None:
    imported(cramped, write_repository(tmp_path / "old", layers=2))
    before = Server(cramped.url).find(NAME)
    folder = write_repository(tmp_path / "new", layers=3, width=768, inner=2048)
    struck = Struck(word, lambda: fill(cramped.models))
    with pytest.raises(DiskFull) as failure:
        imported(cramped, folder, progress=struck)
    assert struck.struck
    assert failure.value.details["needed_bytes"] > 128_000_000
    assert failure.value.details["free_bytes"] is not None
    (cramped.models / "ballast").unlink()
    assert Server(cramped.url).find(NAME) == before
    assert left_over(cramped, NAME) == []
    imported(cramped, folder)
    assert left_over(cramped, NAME) == []


@pytest.mark.parametrize("quantization", ["F16", "Q8_0"])
def test_a_disk_that_is_full_at_last_loses_neither_name(
    cramped: RealServer, tmp_path: Path, quantization: str
) -> None:
    """Quantized, the model before that goes first: then there is room for a name."""
    imported(cramped, write_repository(tmp_path / "old", layers=2))
    before = Server(cramped.url).find(NAME)
    folder = write_repository(tmp_path / "new", layers=2)
    struck = Struck("asking", lambda: fill(cramped.models))
    if quantization == "F16":
        with pytest.raises(DiskFull, match="no room to write"):
            imported(cramped, folder, quantization=quantization, progress=struck)
        assert Server(cramped.url).find(NAME) == before
    else:
        imported(cramped, folder, quantization=quantization, progress=struck)
        assert Server(cramped.url).find(NAME) not in {None, before}
    (cramped.models / "ballast").unlink()
    assert left_over(cramped, NAME) == []


def test_too_small_a_disk_is_refused_before_a_byte_moves(
    cramped: RealServer, tmp_path: Path
) -> None:
    heard = Heard()
    folder = write_repository(tmp_path / "repository", layers=4, width=1024, inner=2048)
    with pytest.raises(DiskFull, match=r"to import hub/tiny:q takes .* is free"):
        imported(cramped, folder, progress=heard)
    assert heard.advances == []
    assert left_over(cramped) == []
