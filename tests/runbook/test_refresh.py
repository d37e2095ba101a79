"""Looking for something newer: through the source, with the order that led to what serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from tests.loop.answers import chat
from tests.real.registry import Registry
from tests.real.server import free_port
from tests.real.tiny import TinyModel
from tests.runbook.box import TAG, Box, last_line

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def own_registry(box: Box, tmp_path: Path) -> Iterator[Registry]:
    """A registry of the test's own, and the deployed tag is what came from there."""
    (tmp_path / "registry").mkdir()
    with Registry(tmp_path / "registry") as registry:
        registry.push(box.server, TAG, TAG)
        # What is pulled has another manifest than what was created on the server.
        assert box.runbook("refresh", "--registry", registry.url).returncode == 0
        yield registry


@pytest.fixture
def fetched(box: Box) -> None:
    """The deployment as of a model that deploy has downloaded itself."""
    ledger = Ledger(box.home.ledger)
    [serves] = ledger.deployments(1)
    ledger.note(serves["id"], {**serves, "source": "registry.ollama.ai"})


def test_what_deploy_did_not_download_is_not_overwritten(box: Box) -> None:
    found = box.runbook("refresh", "--registry", f"http://127.0.0.1:{free_port()}")
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.usefixtures("fetched")
def test_a_registry_out_of_reach_is_said_and_what_serves_keeps_serving(box: Box) -> None:
    before = box.rows()
    found = box.runbook("refresh", "--registry", f"http://127.0.0.1:{free_port()}")
    assert found.returncode == 5
    assert "deploy runbook refresh: exit 5: " in last_line(found.stderr)
    assert "connection refused" in found.stderr
    assert box.rows() == before
    assert chat(box.server, "deploy-current") == "deploy-current"
    assert box.runbook("watchdog").returncode == 0
    assert box.events()[-1]["did"] == []


@pytest.mark.usefixtures("fetched")
def test_nothing_newer_changes_nothing_and_something_newer_is_deployed(
    box: Box, own_registry: Registry, tiny_models: dict[str, TinyModel]
) -> None:
    before, (serving,) = box.rows(), Ledger(box.home.ledger).deployments(1)
    same = box.runbook("refresh", "--registry", own_registry.url)
    assert (same.returncode, same.stdout, same.stderr) == (0, "", "")
    assert box.rows() == before
    assert box.events()[-1]["did"] == []
    assert any(r.path.startswith("/v2/library/qwen2.5/") for r in own_registry.requests())

    client, family = box.server.client(), tiny_models[TAG].spec.family
    client.create("newer", from_=TAG, parameters={**family.parameters, "top_k": 7})
    own_registry.push(box.server, "newer", TAG)
    newer = box.runbook("refresh", "--registry", own_registry.url)
    assert (newer.returncode, newer.stdout, newer.stderr) == (0, "", "")
    serves, _ = Ledger(box.home.ledger).deployments(2)
    assert serves["state"] == "current"
    assert box.events()[-1]["did"] == [f"{serves['model']} serves instead of {serving['model']}"]
    assert serves["tag_digest"] == box.digests()[TAG]
    assert chat(box.server, "deploy-current") == "deploy-current"
