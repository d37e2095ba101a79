import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources import files

import jsonschema
import psutil
import pytest

from orchestrator.machine import Absent, Accelerator, LoadedModel
from orchestrator.probe import ServerClaims, default_probes, read_machine
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


def test_nothing_answers_so_a_server_would_be_ours_to_start() -> None:
    machine = read_machine(host_url=NOBODY, server=None, now=NOW)
    assert (machine.server.local, machine.server.pid, machine.server.version) == (True, None, None)
    assert machine.disk.model_store


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
