"""`deploy catalog check`: against a real registry, and against one that fails."""

import json
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.catalog import Catalog
from orchestrator.catalog.census import Seen, compared, in_order
from orchestrator.errors import SourceBusy, SourceUnreachable
from orchestrator.schema import load
from orchestrator.source.census import census
from orchestrator.source.remote import Patience
from tests.conftest import RunDeploy
from tests.real.hub import Fault, Hub
from tests.real.registry import Registry
from tests.real.server import free_port
from tests.real.tiny import TinyCatalog
from tests.shapes import CATALOG
from tests.source.files import write_gguf

QUICK = Patience(connect_s=1, read_s=0.3, whole_s=3, tries=2)
KNOWN = CATALOG.find("qwen3:8b")
OTHER = "sha256:" + "0" * 64


class Silent:
    """Progress that nobody looks at."""

    def say(self, text: str) -> None: ...
    def tick(self, text: str) -> None: ...
    def advance(self, label: str, done: int, total: int | None) -> None: ...
    def waiting(self, text: str) -> nullcontext[None]:  # noqa: ARG002
        return nullcontext()


@pytest.mark.parametrize(
    ("change", "now", "state"),
    [
        pytest.param({}, (KNOWN.digest, KNOWN.file_bytes), "same", id="same-digest"),
        pytest.param({}, (OTHER, KNOWN.file_bytes), "moved", id="other-digest"),
        pytest.param({"digest": None}, (OTHER, KNOWN.file_bytes), "learned", id="its-digest"),
        pytest.param({"digest": None}, (OTHER, KNOWN.file_bytes + 1), "moved", id="other-bytes"),
        pytest.param({"digest": None}, (None, KNOWN.file_bytes), "same", id="several-files"),
        pytest.param(
            {"digest": None, "bytes_basis": "listed"}, (OTHER, int(KNOWN.file_bytes * 1.04)),
            "learned", id="within-what-was-rounded",
        ),
        pytest.param(
            {"digest": None, "bytes_basis": "listed"}, (OTHER, int(KNOWN.file_bytes * 1.1)),
            "moved", id="beyond-what-was-rounded",
        ),
    ],
)  # fmt: skip
def test_what_became_of_a_tag(
    change: dict[str, Any], now: tuple[str | None, int], state: str
) -> None:
    known = replace(KNOWN, **change)
    assert compared("qwen3:8b", known, Seen(digest=now[0], size_bytes=now[1])).state == state


def test_a_real_registry_says_what_moved_and_what_is_missing(
    registry: Registry, tiny_catalog: TinyCatalog
) -> None:
    """Its models have true names and other weights; one is changed in our catalogue as well."""
    catalog = Catalog.from_json(tiny_catalog.document)
    tags = {tag: c for c in catalog.candidates for tag in c.tags}
    gone = {"qwen3:8b": CATALOG.find("qwen3:8b")}
    moved = {"qwen3:0.6b": replace(catalog.find("qwen3:0.6b"), digest=OTHER)}
    found = census(tags | gone | moved, registry.host, Silent(), insecure=True)
    states = {entry.tag: entry.state for entry in found}
    assert set(states) == set(tags | gone)
    assert states["qwen3:8b"] == "missing"
    assert states["qwen3:0.6b"] == "moved"
    published = {"qwen2.5:0.5b", "deepseek-r1:1.5b", "deepseek-r1:7b"}
    assert {states[tag] for tag in published} == {"same"}


def test_the_command_prints_one_valid_document_and_exits_0(
    registry: Registry, run_deploy: RunDeploy
) -> None:
    words = ("catalog", "check", "qwen3:0.6b", "QWEN3:8b", "--registry", registry.url)
    done = run_deploy(*words, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    jsonschema.validate(document, load("catalog-check"))
    assert [(t["tag"], t["state"]) for t in document["tags"]] == [
        ("qwen3:0.6b", "moved"), ("QWEN3:8b", "missing"),
    ]  # fmt: skip
    assert document["counts"] == {"moved": 1, "missing": 1, "learned": 0, "unread": 0, "same": 0}
    shown = run_deploy(*words).stdout
    assert "2 tags: 1 moved, 1 missing, 0 learned" in shown


def test_the_whole_catalogue_is_asked_a_few_at_a_time(hub: Hub, tmp_path: Path) -> None:
    tags = {tag: c for c in CATALOG.candidates for tag in c.tags}
    hub.model("library/qwen3:8b", write_gguf(tmp_path / "a.gguf"))
    began = time.monotonic()
    found = in_order(census(tags, hub.host, Silent(), insecure=True))
    assert time.monotonic() - began < 30
    assert len(found) == len(tags)
    assert (found[0].tag, found[0].state, found[1].state) == ("qwen3:8b", "moved", "missing")


def wanted() -> dict[str, Any]:
    return {f"qwen3:x{n}": KNOWN for n in range(12)}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param({"hang": True}, SourceUnreachable, id="hangs"),
        pytest.param({"status": 503}, SourceBusy, id="busy"),
        pytest.param({"status": 401}, SourceUnreachable, id="closed"),
        pytest.param({"status": 200, "body": b"<html>"}, SourceUnreachable, id="html"),
    ],
)
def test_a_registry_that_answers_nothing_is_an_error(
    hub: Hub, fault: dict[str, Any], kind: type[Exception]
) -> None:
    hub.faults.append(Fault("/v2/", **fault))
    with pytest.raises(kind):
        census(wanted(), hub.host, Silent(), insecure=True, patience=QUICK)


def test_a_tag_without_an_answer_is_unread_and_says_why(hub: Hub, tmp_path: Path) -> None:
    for tag in wanted():
        hub.model(f"library/{tag}", write_gguf(tmp_path / "a.gguf"))
    hub.faults += [Fault("/x3", status=500), Fault("/x4", status=403), Fault("/x5", hang=True)]
    found = census(wanted(), hub.host, Silent(), insecure=True, patience=QUICK)
    unread = {entry.tag: entry.detail for entry in found if entry.state == "unread"}
    assert set(unread) == {"qwen3:x3", "qwen3:x4", "qwen3:x5"}
    assert all(unread.values())


def test_what_the_time_does_not_reach_is_unread(hub: Hub, tmp_path: Path) -> None:
    hub.model("library/qwen3:x0", write_gguf(tmp_path / "a.gguf"))
    hub.faults += [Fault(f"/x{n}", hang=True) for n in range(1, 12)]
    patient = replace(QUICK, read_s=1.0, whole_s=1.5)
    began = time.monotonic()
    found = census(wanted(), hub.host, Silent(), insecure=True, patience=patient)
    assert time.monotonic() - began < 5
    assert len(found) == 12
    assert sum(entry.state == "unread" for entry in found) == 11


def test_a_command_without_a_registry_exits_5(run_deploy: RunDeploy) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run_deploy("catalog", "check", "qwen3:8b", "--registry", url)
    assert (done.returncode, done.stdout) == (5, "")
    assert "cannot be reached" in done.stderr
    wrong = run_deploy("catalog", "check", "--registry", "ftp://x")
    assert wrong.returncode == 2
    assert run_deploy("catalog", "check", "qwen3:9b").returncode == 2


def test_show_may_be_left_out(run_deploy: RunDeploy) -> None:
    left_out = run_deploy("catalog", "qwen3:8b", "--json")
    assert left_out.returncode == 0
    assert run_deploy("catalog", "show", "qwen3:8b", "--json").stdout == left_out.stdout
    assert "check" in run_deploy("catalog", "--help").stdout
