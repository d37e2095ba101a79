import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import MachineInvalid
from orchestrator.machine import Absent, Machine, Memory, ServerState
from orchestrator.machine_file import from_json, with_known_facts
from orchestrator.probe import default_probes, read_machine
from orchestrator.usability import judged_for
from tests.probe import vendor_boxes
from tests.probe.boxes import Box
from tests.real.server import free_port

GIB = 2**30
BOX: dict[str, Any] = {"memory": {"total_bytes": 64 * GIB}}


def with_card(**facts: Any) -> dict[str, Any]:
    return BOX | {"accelerators": [{"memory_total_bytes": 24 * GIB} | facts]}


def read(document: object) -> Machine:
    return from_json(document, source="box.json")


def test_total_memory_is_all_that_a_machine_needs() -> None:
    machine = read(BOX)
    assert machine.memory.available_bytes == machine.memory.total_bytes == 64 * GIB
    assert (machine.memory.limit_bytes, machine.accelerators) == (None, ())


def test_a_size_is_all_that_an_accelerator_needs() -> None:
    (card,) = read(with_card()).accelerators
    assert (card.vendor, card.index, card.usable) == ("nvidia", 0, True)
    assert card.memory_free_bytes == card.memory_total_bytes == 24 * GIB


def test_a_limit_caps_what_is_free() -> None:
    machine = read({"memory": {"total_bytes": 64 * GIB, "limit_bytes": GIB}})
    assert machine.memory.free_bytes == GIB


def test_the_catalogue_fills_in_what_a_name_tells() -> None:
    (card,) = read(with_card(name="NVIDIA GeForce RTX 4090")).accelerators
    assert card.compute_capability == "8.9"
    assert card.bandwidth_bytes_per_s == 1008 * 10**9


def test_the_file_wins_over_the_catalogue() -> None:
    (card,) = read(
        with_card(name="RTX 4090", compute_capability="3.5", bandwidth_bytes_per_s=1)
    ).accelerators
    assert (card.compute_capability, card.bandwidth_bytes_per_s) == ("3.5", 1)


def test_a_mig_slice_does_not_get_the_bandwidth_of_the_card() -> None:
    name = "NVIDIA H100 80GB HBM3"
    (card,) = read(with_card(name=name, uuid="MIG-1")).accelerators
    assert card.bandwidth_bytes_per_s is None


@pytest.mark.parametrize(
    ("facts", "usable"),
    [
        pytest.param({"name": "GeForce GT 710"}, False, id="judged-by-the-catalogue"),
        pytest.param({"compute_capability": "3.5"}, False, id="judged-by-its-capability"),
        pytest.param({"driver": "540.1"}, False, id="judged-by-its-driver"),
        pytest.param({"vendor": "ascend"}, False, id="judged-by-its-vendor"),
        pytest.param({"usable": None, "vendor": "ascend"}, False, id="null-is-judged-too"),
        pytest.param({"usable": True, "vendor": "ascend"}, True, id="told-usable"),
        pytest.param({"usable": False}, False, id="told-unusable"),
    ],
)
def test_usable_is_judged_where_the_file_does_not_say(facts: dict[str, Any], usable: bool) -> None:
    (card,) = read(with_card(**facts)).accelerators
    assert card.usable is usable


def test_the_server_in_the_file_decides_what_is_usable() -> None:
    document = with_card(driver="540.1")
    assert read(document | {"server": {"version": "0.9.3"}}).accelerators[0].usable
    assert not read(document | {"server": {"version": "0.33.0"}}).accelerators[0].usable
    asked = from_json(
        document | {"server": {"version": "0.33.0"}}, source="box.json", server_version="0.9.3"
    )
    assert asked.accelerators[0].usable
    masked = document | {"server": {"version": "0.9.3", "settings": {"visible_devices": ""}}}
    assert not read(masked).accelerators[0].usable


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("NVIDIA Something New", "nvidia"),
        ("GeForce GTX 9999", "nvidia"),
        ("A100-SXM4-80GB", "nvidia"),
        ("AMD Radeon RX 7900 XTX", "amd"),
        ("Radeon Whatever", "amd"),
        ("Apple M2 Max", "apple"),
        ("Intel Arc A770", "intel"),
        ("Ascend 910B3", "ascend"),
    ],
)
def test_the_name_tells_the_vendor(name: str, vendor: str) -> None:
    assert read(with_card(name=name)).accelerators[0].vendor == vendor


def test_missing_indexes_are_those_that_are_left() -> None:
    size = {"memory_total_bytes": GIB}
    machine = read(BOX | {"accelerators": [size, size | {"index": 0}, size]})
    assert [a.index for a in machine.accelerators] == [1, 0, 2]


def test_equal_indexes_of_two_vendors_are_two_devices() -> None:
    size = {"memory_total_bytes": GIB, "index": 0}
    cards = [size | {"vendor": "nvidia"}, size | {"vendor": "amd"}]
    assert len(read(BOX | {"accelerators": cards}).accelerators) == 2


def test_null_is_unknown() -> None:
    machine = read(
        {
            "taken_at": None,
            "memory": {"total_bytes": 8 * GIB, "available_bytes": None, "limit_bytes": None},
            "host": {"cpu": None},
            "disk": None,
            "accelerators": [{"memory_total_bytes": None, "unified_memory": True}],
            "server": None,
        }
    )
    assert machine.memory.available_bytes == 8 * GIB
    assert machine.accelerators[0].memory_total_bytes is None
    assert machine.accelerators[0].usable


def test_unknown_keys_are_ignored() -> None:
    assert read(with_card(colour="red") | {"owner": {"name": "x"}}).accelerators


def test_an_integral_float_is_an_integer() -> None:
    total = read(json.loads('{"memory": {"total_bytes": 8e9}}')).memory.total_bytes
    assert (total, type(total)) == (8 * 10**9, int)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param([], "$: [] is not an object", id="no-object"),
        pytest.param("x", "$: 'x' is not an object", id="a-string"),
        pytest.param({}, "$.memory: is missing", id="no-memory"),
        pytest.param({"memory": []}, "$.memory: [] is not an object", id="memory-no-object"),
        pytest.param({"memory": {}}, "$.memory.total_bytes: is missing", id="no-total"),
        pytest.param(
            {"memory": {"total_bytes": "64 GiB"}},
            "$.memory.total_bytes: '64 GiB' is not an integer",
            id="a-size-in-words",
        ),
        pytest.param(
            {"memory": {"total_bytes": True}},
            "$.memory.total_bytes: true is not an integer",
            id="a-boolean-is-no-size",
        ),
        pytest.param(
            {"memory": {"total_bytes": 1.5}},
            "$.memory.total_bytes: 1.5 is not an integer",
            id="half-a-byte",
        ),
        pytest.param(
            {"memory": {"total_bytes": float("inf")}},
            "$.memory.total_bytes: inf is not an integer",
            id="infinite",
        ),
        pytest.param(
            {"memory": {"total_bytes": -1}}, "$.memory.total_bytes: -1 is negative", id="negative"
        ),
        pytest.param(
            {"memory": {"total_bytes": 1, "available_bytes": 2}},
            "$.memory.available_bytes: 2 is above total_bytes, 1",
            id="more-available-than-there-is",
        ),
        pytest.param(
            {"memory": {"total_bytes": 1, "limit_bytes": -2}},
            "$.memory.limit_bytes: -2 is negative",
            id="negative-limit",
        ),
        pytest.param(
            with_card(memory_total_bytes="lots"),
            "$.accelerators[0].memory_total_bytes: 'lots' is not an integer",
            id="lots",
        ),
        pytest.param(
            BOX | {"accelerators": [{"name": "RTX 4090"}]},
            "$.accelerators[0].memory_total_bytes: is missing",
            id="card-without-size",
        ),
        pytest.param(
            with_card(memory_free_bytes=25 * GIB),
            f"$.accelerators[0].memory_free_bytes: {25 * GIB} is above memory_total_bytes",
            id="more-free-than-there-is",
        ),
        pytest.param(
            BOX | {"accelerators": [{"memory_total_bytes": 1, "index": 1}] * 2},
            "$.accelerators[1].index: 1 is used twice for nvidia",
            id="index-twice",
        ),
        pytest.param(
            BOX | {"accelerators": {}}, "$.accelerators: {} is not an array", id="no-array"
        ),
        pytest.param(
            BOX | {"accelerators": 0}, "$.accelerators: 0 is not an array", id="a-number-of-cards"
        ),
        pytest.param(
            BOX | {"accelerators": [24]}, "$.accelerators[0]: 24 is not an object", id="card-number"
        ),
        pytest.param(
            BOX | {"accelerators": [{"memory_total_bytes": 1}, None]},
            "$.accelerators[1]: null is not an object",
            id="card-null",
        ),
        pytest.param(
            with_card(vendor="matrox"),
            "$.accelerators[0].vendor: 'matrox' is not one of nvidia, amd",
            id="vendor-nobody-knows",
        ),
        pytest.param(
            with_card(vendor=["nvidia"]),
            "$.accelerators[0].vendor: ['nvidia'] is not one of",
            id="vendor-in-a-list",
        ),
        pytest.param(
            with_card(name="Voodoo 3"),
            "$.accelerators[0].vendor: is missing, and 'Voodoo 3' does not tell it",
            id="vendor-cannot-be-told",
        ),
        pytest.param(
            with_card(name=7, vendor="amd"), "$.accelerators[0].name: 7 is not a string", id="name"
        ),
        pytest.param(
            with_card(index="0"), "$.accelerators[0].index: '0' is not an integer", id="index"
        ),
        pytest.param(
            with_card(index=[0]), "$.accelerators[0].index: [0] is not an integer", id="index-list"
        ),
        pytest.param(
            with_card(usable="yes"),
            "$.accelerators[0].usable: 'yes' is not true or false",
            id="yes-is-no-boolean",
        ),
        pytest.param(
            with_card(compute_capability=8.9),
            "$.accelerators[0].compute_capability: 8.9 is not a string",
            id="capability-is-text",
        ),
        pytest.param(
            BOX | {"host": {"isa": ["avx2", 1]}}, "$.host.isa[1]: 1 is not a string", id="isa"
        ),
        pytest.param(
            BOX | {"server": {"loaded": [{"name": "x", "digest": "y"}]}},
            "$.server.loaded[0].bytes: is missing",
            id="loaded-without-bytes",
        ),
        pytest.param(
            BOX | {"server": {"settings": {"num_parallel": "2"}}},
            "$.server.settings.num_parallel: '2' is not an integer",
            id="deep-inside",
        ),
        pytest.param(
            BOX | {"server": {"runtime": "docker"}},
            "$.server.runtime: 'docker' is not one of embedded, release",
            id="runtime",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_path(document: object, message: str) -> None:
    with pytest.raises(MachineInvalid) as caught:
        read(document)
    assert caught.value.what.startswith(f"box.json: {message}")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("document", "path"),
    [
        pytest.param({"memory": {"total_bytes": 64}}, "$.memory.total_bytes", id="gib-of-memory"),
        pytest.param(
            with_card(memory_total_bytes=24576), "$.accelerators[0].memory_total_bytes", id="mib"
        ),
    ],
)
def test_a_size_in_another_unit_is_refused_with_a_hint(document: object, path: str) -> None:
    with pytest.raises(MachineInvalid) as caught:
        read(document)
    assert caught.value.what.startswith(f"box.json: {path}: ")
    assert "sizes are in bytes" in caught.value.hint
    assert read(with_card(memory_total_bytes=0)).accelerators[0].memory_total_bytes == 0


@pytest.mark.parametrize("cores", [0, 4097])
@pytest.mark.parametrize("key", ["physical_cores", "logical_cores"])
def test_cores_that_no_machine_has_are_refused(key: str, cores: int) -> None:
    with pytest.raises(MachineInvalid, match=f"host.{key}: {cores} is not from 1 to 4096"):
        read(BOX | {"host": {key: cores}})


def test_a_name_cannot_move_the_cursor() -> None:
    (card,) = read(with_card(name="NVIDIA\nA10 \x1b[2J")).accelerators
    assert card.name == r"NVIDIA\nA10 \x1b[2J"


def test_whether_memory_is_shared_the_file_knows_better_than_the_catalogue() -> None:
    name = "AMD Radeon 8060S Graphics"
    assert read(with_card(name=name)).accelerators[0].unified_memory
    assert not read(with_card(name=name, unified_memory=False)).accelerators[0].unified_memory


@pytest.mark.parametrize("name", [*vendor_boxes.BOXES, "strix_halo_with_a_large_share"])
def test_the_accelerators_of_each_vendor_can_be_read_back(tmp_path: Path, name: str) -> None:
    box = Box(tmp_path)
    if build := vendor_boxes.BOXES.get(name):
        build(box)
    else:
        vendor_boxes.strix_halo(box, vram=96 * GIB, gtt=16 * GIB)
    read_here = [p.read() for p in default_probes(box.sight)]
    found = [a for each in read_here if not isinstance(each, Absent) for a in each]
    known = [replace(with_known_facts(a), unified_memory=a.unified_memory) for a in found]
    server = ServerState(version="0.33.0")
    machine = Machine(
        memory=Memory(total_bytes=128 * GIB, available_bytes=100 * GIB),
        accelerators=judged_for(server, known),
        absent=tuple(each for each in read_here if isinstance(each, Absent)),
        server=server,
    )
    assert read(json.loads(json.dumps(machine.to_json()))) == machine


def test_what_can_be_done_is_read_back() -> None:
    told = {"usable": False, "unusable_reason": "lost: reboot", "remedy": "reboot"}
    absent = {"probe": "nvidia", "reason": "old: reboot", "present": True, "remedy": "reboot"}
    machine = read(with_card(**told) | {"absent": [absent], "server": {"runners": [7]}})
    assert machine.accelerators[0].remedy == machine.absent[0].remedy == "reboot"
    assert machine.server.runners == (7,)


def test_what_the_probe_writes_can_be_read_back() -> None:
    machine = read_machine(
        host_url=f"http://127.0.0.1:{free_port()}", server=None, now=datetime.now(UTC)
    )
    assert read(json.loads(json.dumps(machine.to_json()))) == machine
