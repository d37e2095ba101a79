"""The files of a repository on this disk: fetched once, verified, resumed, and gone at the end."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from orchestrator.catalog import Catalog
from orchestrator.errors import DiskFull, PullFailed, SourceCorrupt
from orchestrator.home import Home
from orchestrator.pull.hub_files import Gathered, HubFolder
from orchestrator.pull.hub_plan import HubPlan, planned
from orchestrator.source.hub import Wish, repository
from orchestrator.transfer import Manners
from tests.pull.hubs import NEWEST, QUICK, Silent, asked
from tests.real.disk import small_disk
from tests.real.hub import COMMIT, Fault, Hub
from tests.real.safetensors import write_repository

ONE = Manners(connections=1)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with asked(tmp_path, monkeypatch) as hub:
        write_repository(hub.root / "o" / "r", shards=2)
        yield hub


def plan() -> HubPlan:
    with repository("o/r") as found:
        return planned(found, Wish(repo="o/r"), "Q8_0", NEWEST, Catalog.bundled())


def gather(home: Home, progress: Silent | None = None) -> Gathered:
    return HubFolder(home, plan(), QUICK).gather(progress or Silent(), ONE)


def weights(hub: Hub) -> int:
    """Return the bytes of shards that the hub sent, but for the header that the plan reads."""
    hub.settled()
    return sum(a.sent_bytes for a in hub.asked if a.path.endswith(".safetensors"))


def test_every_file_comes_once_and_has_its_own_digest(hub: Hub, home: Home) -> None:
    found = gather(home)
    for name, file in found.files.items():
        true = (hub.root / "o" / "r" / name).read_bytes()
        assert file.path.read_bytes() == true
        assert file.digest == f"sha256:{hashlib.sha256(true).hexdigest()}"
    assert found.fetched_bytes == sum(each.size_bytes for each in found.files.values())
    before = weights(hub)
    again = gather(home)
    assert again.files == found.files
    assert again.fetched_bytes == 0
    assert weights(hub) - before <= 128 * 1024  # what the plan reads


def test_an_interrupted_download_goes_on_where_it_was(hub: Hub, home: Home) -> None:
    name = "model-00002-of-00002.safetensors"
    size = (hub.root / "o" / "r" / name).stat().st_size
    hub.faults = [
        Fault(name, cut_after=size // 2, times=1), Fault(name, status=503, headers={})
    ]  # fmt: skip
    with pytest.raises(PullFailed):
        gather(home)
    hub.faults = []
    there = HubFolder(home, plan()).present_bytes()
    assert there > size // 3
    before = weights(hub)
    found = gather(home)
    total = sum(each.size_bytes for each in found.files.values())
    assert found.fetched_bytes <= total - there + 128 * 1024
    assert weights(hub) - before <= total - there + 256 * 1024


def test_a_corrupted_file_is_never_given_on(hub: Hub, home: Home) -> None:
    hub.faults = [Fault("model-00002-of-00002", corrupt_at=500_000)]
    with pytest.raises(SourceCorrupt, match="model-00002-of-00002"):
        gather(home)
    assert not (HubFolder(home, plan()).path / "model-00002-of-00002.safetensors").exists()


def test_a_whole_file_of_the_hubs_own_cache_is_used_where_it_lies(hub: Hub, home: Home) -> None:
    theirs = Path(constants.HF_HUB_CACHE) / "models--o--r"
    (theirs / "blobs").mkdir(parents=True)
    (theirs / "snapshots" / COMMIT).mkdir(parents=True)
    true = hub.root / "o" / "r"
    for name in ("model-00001-of-00002.safetensors", "tokenizer.json"):
        (theirs / "blobs" / name).write_bytes((true / name).read_bytes())
        (theirs / "snapshots" / COMMIT / name).symlink_to(f"../../blobs/{name}")
    damaged = bytearray((true / "model-00002-of-00002.safetensors").read_bytes())
    damaged[-1] ^= 1
    (theirs / "snapshots" / COMMIT / "model-00002-of-00002.safetensors").write_bytes(damaged)
    progress = Silent()
    found = gather(home, progress)
    kept = found.files["model-00001-of-00002.safetensors"]
    assert kept.path.is_relative_to(theirs)
    anew = found.files["model-00002-of-00002.safetensors"]
    assert anew.path.read_bytes() == (true / anew.name).read_bytes()
    assert any("is fetched anew" in text for text in progress.said)
    older = HubFolder(home, plan()).path.with_name("f" * 40)
    older.mkdir()
    HubFolder(home, plan()).remove(progress)
    assert kept.path.read_bytes() == (true / kept.name).read_bytes()
    assert not (home.cache / "hub").exists()


def test_the_token_goes_to_the_hub_alone_and_is_shown_nowhere(
    hub: Hub, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    hub.gated, hub.token, progress = {"o/r"}, "hf_secretsecret", Silent()
    with Hub(hub.root) as far:
        hub.elsewhere = far.url.replace("127.0.0.1", "localhost")
        found = HubFolder(home, plan(), QUICK)
        found.gather(progress, ONE)
        assert far.sent_bytes > 10**6
        assert {each.authorization for each in far.asked} == {None}
        found.remove(progress)
        far.faults = [Fault("", status=403)]
        with pytest.raises(PullFailed) as caught:
            found.gather(progress, ONE)
    assert {each.authorization for each in hub.asked} == {"Bearer hf_secretsecret"}
    shown = f"{caught.value.to_json()}{caught.value!r}{found!r}{progress.said}{progress.most}"
    assert "secret" not in shown


@pytest.mark.usefixtures("hub")
def test_a_disk_too_small_for_the_files_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4M") as disk, pytest.raises(DiskFull):
        gather(Home.of({"DEPLOY_HOME": str(disk)}))


@pytest.mark.usefixtures("hub")
def test_a_revision_in_place_of_a_commit_is_one_folder(home: Home) -> None:
    folder = HubFolder(home, dataclasses.replace(plan(), commit="refs/pr/7"), QUICK)
    assert folder.path.parent == HubFolder(home, plan(), QUICK).path.parent
    assert folder.path.name == "refs--pr--7"
