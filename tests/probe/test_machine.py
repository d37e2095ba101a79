import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import jsonschema
import psutil
import pytest

from orchestrator.machine import Absent, Accelerator, LoadedModel, ServerSettings
from orchestrator.probe import ServerClaims, default_probes, read_machine
from orchestrator.probe.rights import Rights
from orchestrator.probe.server import ServerProcess
from orchestrator.probe.sight import Sight
from orchestrator.survey import look
from tests.probe.boxes import Box
from tests.real import tiny
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyModel

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOBODY = f"http://127.0.0.1:{free_port()}"
CARD = Accelerator(
    vendor="nvidia",
    name="NVIDIA GeForce GT 710",
    index=0,
    memory_total_bytes=2**31,
    memory_free_bytes=2**31,
    compute_capability="3.5",
)


@dataclass(frozen=True)
class Fixed:
    """A probe that has read already."""

    reading: tuple[Accelerator, ...] | Absent
    name: str = "nvidia"

    def read(self) -> tuple[Accelerator, ...] | Absent:
        return self.reading


def test_the_document_keeps_its_schema() -> None:
    schema = json.loads((files("orchestrator") / "schema" / "machine.json").read_text())
    machine = read_machine(host_url=NOBODY, server=None, now=NOW, probes=(Fixed((CARD,)),))
    document = json.loads(json.dumps(machine.to_json()))
    jsonschema.validate(document, schema)
    assert document["taken_at"] == "2026-11-23T12:00:00Z"


def test_every_probe_answers_for_its_vendor() -> None:
    names = ["nvidia", "amd", "intel", "apple", "ascend", "other"]
    assert [p.name for p in default_probes()] == names
    for probe in default_probes():
        found = probe.read()
        assert isinstance(found, tuple) or found.probe == probe.name


@dataclass(frozen=True)
class Broken:
    """A probe with a fault."""

    name: str = "amd"

    def read(self) -> Absent:
        raise KeyError("gfx")


def test_a_fault_with_one_vendor_hides_no_other() -> None:
    machine = read_machine(host_url=NOBODY, server=None, now=NOW, probes=(Broken(), Fixed((CARD,))))
    assert [a.name for a in machine.accelerators] == [CARD.name]
    assert "KeyError: 'gfx'" in machine.absent[0].reason


def test_accelerators_are_judged_and_absences_kept() -> None:
    absent = Absent(probe="amd", reason="none")
    machine = read_machine(
        host_url=NOBODY, server=None, now=NOW, probes=(Fixed((CARD,)), Fixed(absent, "amd"))
    )
    assert machine.accelerators[0].unusable_reason
    assert absent in machine.absent


def test_the_catalogue_knows_what_the_driver_would_not_say() -> None:
    silent = replace(CARD, name="NVIDIA GB10", compute_capability="12.1")
    machine = read_machine(host_url=NOBODY, server=None, now=NOW, probes=(Fixed((silent,)),))
    assert machine.accelerators[0].bandwidth_bytes_per_s == 273 * 10**9


def test_memory_of_a_card_that_the_kernel_uses_is_counted_once(box: Box) -> None:
    """GH200: the card's 96 GiB are a node of the host's memory as well."""
    hbm = 96 * 2**30
    box.answer("uname", "Linux aarch64")
    box.file("/proc/meminfo", f"MemTotal: {600 * 2**20} kB\nMemAvailable: {590 * 2**20} kB\n")
    for node, cpus, kib in ((0, "0-71", 504 * 2**20), (1, "", hbm // 2**10)):
        folder = f"/sys/devices/system/node/node{node}"
        text = f"Node {node} MemTotal: {kib} kB\nNode {node} MemFree: {kib} kB\n"
        box.file(f"{folder}/meminfo", text)
        box.file(f"{folder}/cpulist", f"{cpus}\n")
    card = replace(CARD, name="GH200", memory_total_bytes=hbm, compute_capability="9.0")
    machine = read_machine(
        host_url=NOBODY, server=None, now=NOW, probes=(Fixed((card,)),), sight=box.sight
    )
    assert machine.memory.total_bytes == 504 * 2**30
    assert machine.memory.available_bytes == 494 * 2**30


def test_nothing_answers_so_a_server_would_be_ours_to_start() -> None:
    machine = read_machine(host_url=NOBODY, server=None, now=NOW)
    assert (machine.server.local, machine.server.pid, machine.server.version) == (True, None, None)
    assert machine.disk.model_store


def test_the_store_is_that_of_the_server_that_we_would_start(tmp_path: Path) -> None:
    ours = {"OLLAMA_MODELS": str(tmp_path / "mine")}
    machine = read_machine(host_url=NOBODY, server=None, now=NOW, environ=ours)
    assert machine.disk.model_store == str(tmp_path / "mine")
    seen = look({"OLLAMA_HOST": NOBODY, **ours})
    assert seen.machine.disk.model_store == str(tmp_path / "mine")


@pytest.mark.parametrize(("readable", "store"), [(False, "/big/models"), (True, "/guessed")])
def test_a_server_whose_own_environment_is_hidden_is_asked_for_its_store(
    monkeypatch: pytest.MonkeyPatch, readable: bool, store: str
) -> None:
    """Its unit may tell all of its variables, and still not what the process was started with."""
    process = ServerProcess(
        pid=os.getpid(),
        home="/home/ann",
        settings=ServerSettings(models_path="/guessed"),
        settings_known=True,
        environ_known=readable,
    )
    monkeypatch.setattr("orchestrator.probe.read_process", lambda _: process)
    asked = []

    def revealed() -> str:
        asked.append(True)
        return f"/big/models/blobs/sha256-{'0a' * 32}"

    machine = read_machine(
        host_url=NOBODY, server=ServerClaims(version="0.33.0"), now=NOW, revealed=revealed
    )
    assert machine.disk.model_store == store
    assert asked == [True] * (not readable)


@pytest.mark.parametrize(
    ("server", "sight", "ours"),
    [
        pytest.param(None, Sight(), True, id="none-answers"),
        pytest.param(ServerClaims(version="0.33.0"), Sight(), False, id="a-hidden-one-does"),
        pytest.param(None, Sight(Path("/captured")), False, id="of-another-box"),
    ],
)
def test_where_no_server_runs_our_own_rights_decide(
    monkeypatch: pytest.MonkeyPatch, server: ServerClaims | None, sight: Sight, ours: bool
) -> None:
    seen = []

    def probes(_: Sight, rights: Rights) -> tuple[()]:
        seen.append(rights)
        return ()

    monkeypatch.setattr("orchestrator.probe.default_probes", probes)
    read_machine(host_url=NOBODY, server=server, now=NOW, sight=sight)
    own = Rights(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))
    assert seen == [own if ours else Rights()]


def test_a_captured_box_has_none_of_the_processes_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("this box was asked")

    for name in (
        "read_process", "systemd_unit", "other_servers", "orphans", "whereabouts", "is_local",
    ):  # fmt: skip
        monkeypatch.setattr(f"orchestrator.probe.{name}", never)
    ours: Mapping[str, str] = {"OLLAMA_MODELS": "/srv/models"}
    machine = read_machine(
        host_url=NOBODY, server=None, now=NOW, environ=ours, sight=Sight(tmp_path)
    )
    state = machine.server
    assert (state.local, state.pid, state.where) == (True, None, None)
    assert (state.others, state.orphans, state.runners) == ((), (), ())
    assert machine.disk.model_store == "/srv/models"


def test_a_server_elsewhere_has_an_unknown_store() -> None:
    claims = ServerClaims(version="0.33.0")
    machine = read_machine(host_url="http://192.0.2.7:11434", server=claims, now=NOW)
    assert (machine.server.local, machine.disk.free_bytes) == (False, None)
    assert "disk" in [a.probe for a in machine.absent]


def test_a_machine_without_a_driver_is_read_in_a_blink() -> None:
    read_machine(host_url=NOBODY, server=None, now=NOW)
    started = time.perf_counter()
    for _ in range(5):
        read_machine(host_url=NOBODY, server=None, now=NOW)
    # A third of what `deploy probe` may take, times three for a busy box.
    assert (time.perf_counter() - started) / 5 < 0.35


def resident(pid: int) -> int:
    """Return the resident bytes of a process by another road than the probe's."""
    return psutil.Process(pid).memory_info().rss


@pytest.mark.parametrize("blob_known", [True, False], ids=["blob-known", "only-one-loaded"])
def test_a_real_server_is_found_and_its_model_is_measured(
    server: RealServer, tiny_models: dict[str, TinyModel], blob_known: bool
) -> None:
    model = next(iter(tiny_models.values()))
    name = tiny.create(server, model)
    server.client().generate(name, "", keep_alive=-1)
    listed = server.client().ps().models[0]
    assert listed.digest
    claimed = LoadedModel(name=name, digest=listed.digest, bytes=1, context=2048)
    claims = ServerClaims(version="0.9.3", loaded=(claimed,))
    if blob_known:
        # One that is being unloaded: its runner is gone.
        gone = LoadedModel(name="gone", digest="0", bytes=2)
        blobs = {listed.digest: model.digest}
        claims = ServerClaims(version="0.9.3", loaded=(claimed, gone), blobs=blobs)

    machine = read_machine(host_url=server.url, server=claims, now=NOW)

    state = machine.server
    assert (state.pid, state.local, state.runtime) == (server.pid, True, "embedded")
    assert state.settings.num_parallel == 1
    assert machine.disk.model_store == str(server.models)
    (runner,) = psutil.Process(server.pid).children()
    assert state.loaded[0].bytes == pytest.approx(resident(runner.pid), rel=0.1)
    assert state.loaded[0].bytes > 10 * 2**20
    assert [other.bytes for other in state.loaded[1:]] == [2] * blob_known
