"""What a pull would need, and which disk has not got it: nothing is asked of a server."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.catalog import Catalog
from orchestrator.cli.render_pull import intents
from orchestrator.errors import DiskFull, SourceUnreachable
from orchestrator.progress import Progress
from orchestrator.pull.forecast import Forecast, Would, shortage
from orchestrator.pull.registered import Registered
from orchestrator.runtime import disk
from orchestrator.server import Server
from orchestrator.source import Pulled
from orchestrator.source.intent import Intent
from orchestrator.source.manifest import Files
from orchestrator.source.registry import Registry
from tests.loop.heard import Heard
from tests.pull.stores import DIGEST, TAG, filled

INTENT = Intent(
    source="hub", name=TAG, host="h", files=1, total_bytes=1, present_bytes=0, download_bytes=1
)


def test_two_folders_of_one_disk_share_what_is_free_there(tmp_path: Path) -> None:
    free = disk.free_bytes(tmp_path)
    assert free
    part = int(free * 0.7)
    one = {str(tmp_path / "hub"): part}
    both = one | {str(tmp_path / "models"): part}

    assert shortage(replace(INTENT, needed_bytes=one), TAG) is None
    said = shortage(replace(INTENT, needed_bytes=both), TAG)
    assert said
    assert "hub and " in said


def test_the_notes_are_those_of_the_source_that_would_deliver() -> None:
    away = Would(source="ollama", failure=SourceUnreachable("away"))
    would = Would(source="hub", intent=replace(INTENT, notes=("at commit 0123",)))

    text = intents(Forecast(model=TAG, server_host="http://h", sources=(away, would)))

    assert "note      at commit 0123" in text


class _OutOfOurReach(Registry):
    """A registry that the server reaches and we do not."""

    def registered(self, tag: str) -> Files:
        raise SourceUnreachable(f"no route to the registry of {tag}")

    def pull(self, tag: str, progress: Progress) -> Pulled:
        progress.say(f"pulled {tag}")
        return Pulled()


@pytest.mark.parametrize("there", ["nothing", "partial", "weights", "name"])
def test_of_a_registry_out_of_our_reach_the_disk_is_asked_for_what_is_missing_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    store, catalog = filled(tmp_path / "models"), Catalog.bundled()
    listed = replace(catalog.find(TAG), file_bytes=256 * 2**20, digest=None)
    if there == "partial":
        partial = store.blob(DIGEST).with_name("sha256-x-partial")
        partial.write_bytes(bytes(listed.file_bytes - 2**20))
    elif there == "weights":
        listed = replace(listed, digest=f"sha256:{'1' * 64}")
        with store.blob(str(listed.digest)).open("wb") as file:
            file.truncate(listed.file_bytes)
    if there != "name":
        store.discard(TAG)
    monkeypatch.setattr(Catalog, "find", lambda *_: listed)
    monkeypatch.setattr(disk, "free_bytes", lambda _: 128 * 2**20)
    nobody = _OutOfOurReach(Server("http://127.0.0.1:9"))
    source = Registered(source=nobody, store_path=str(store.path), catalog=catalog)

    if there == "nothing":
        with pytest.raises(DiskFull, match="is free"):
            source.pull(TAG, Heard())
    else:
        heard = Heard()
        source.pull(TAG, heard)
        assert heard.lines[-1] == f"pulled {TAG}"
