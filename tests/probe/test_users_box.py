"""One box of a user, read, judged, planned and looked over: a Ryzen 9 5950X beside a GT 710.

64 GiB of DDR4-2400, a 1 TB NVMe disk, models on an 8 TB hard disk; driver 470, the last one for
that card.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.doctor import Case, examine
from orchestrator.machine import Machine
from orchestrator.probe import read_machine
from orchestrator.probe.sight import Sight
from tests.conftest import RunDeploy
from tests.real.server import free_port

BOX = Path(__file__).parents[1] / "captured" / "ryzen-5950x"
GIB = 2**30


@pytest.fixture
def machine() -> Machine:
    return read_machine(
        host_url=f"http://127.0.0.1:{free_port()}",
        server=None,
        now=datetime(2026, 11, 26, tzinfo=UTC),
        environ={"OLLAMA_MODELS": "/srv/ollama/models"},
        sight=Sight(BOX),
    )


@pytest.fixture
def file(machine: Machine, tmp_path: Path) -> Path:
    path = tmp_path / "box.json"
    path.write_text(json.dumps(machine.to_json()))
    return path


def test_all_cores_and_what_is_available(machine: Machine) -> None:
    host, memory = machine.host, machine.memory
    assert host.cpu == "AMD Ryzen 9 5950X 16-Core Processor"
    assert (host.physical_cores, host.logical_cores, host.threads) == (16, 32, 16)
    assert "avx2" in host.isa
    assert memory.limit_bytes is None
    assert memory.total_bytes / GIB == pytest.approx(62.7, abs=0.1)


def test_the_card_is_told_and_not_used(machine: Machine) -> None:
    [card] = machine.accelerators
    assert card.name == "NVIDIA GeForce GT 710"
    assert not card.usable
    assert "compute capability 3.5 is below 5.0" in (card.unusable_reason or "")
    assert machine.usable == ()
    assert "Ryzen" in machine.name


def test_the_store_lies_on_the_slower_disk(machine: Machine) -> None:
    assert (machine.disk.kind, machine.disk.filesystem) == ("hdd", "ext4")
    assert {(v.mount, v.kind) for v in machine.disk.others} == {("/", "nvme"), ("/data", "nvme")}


def test_a_doctor_says_to_move_the_store(machine: Machine) -> None:
    checks = {c.name: c for c in examine(Case(machine=machine, answers=False))}
    assert checks["disk kind"].outcome == "warn"
    assert "/data on nvme has 560.00 GiB free" in checks["disk kind"].detail
    assert "OLLAMA_MODELS=/data/ollama" in (checks["disk kind"].remedy or "")
    assert checks["nvidia 0"].outcome == "warn"


def test_the_plan_is_for_the_processor_at_the_speed_of_its_memory(
    run_deploy: RunDeploy, file: Path
) -> None:
    done = run_deploy("plan", "--machine", file, "--json", "--server-version", "0.33.0")
    chosen = json.loads(done.stdout)["chosen"]
    assert chosen["placement"] == "cpu"
    # A mixture of 30.5B reads 3.3B a token: two channels of DDR4-2400 give it two dozen tokens/s
    # at the very best, and a dense 32B less than two.
    assert chosen["tag"].startswith("qwen3:30b-a3b")
    low, likely, high = chosen["estimate"]["speed"]["decode_tps"]
    assert 3 < low < likely < high < 30
    assert likely > 4  # the floor of the profile
    dense = run_deploy("estimate", "deepseek-r1:32b", "--machine", file, "--json").stdout
    assert json.loads(dense)["speed"]["decode_tps"][1] < 2.5


def test_a_cold_load_takes_what_a_hard_disk_takes(run_deploy: RunDeploy, file: Path) -> None:
    def load_s(machine: Path) -> list[float]:
        done = run_deploy("estimate", "deepseek-r1:14b", "--machine", machine, "--json")
        found: list[float] = json.loads(done.stdout)["speed"]["load_s"]
        return found

    document = json.loads(file.read_text())
    on_disk = load_s(file)
    document["disk"]["read_bytes_per_s"] = 3_000_000_000
    file.write_text(json.dumps(document))
    on_nvme = load_s(file)
    assert 50 < on_disk[1] < 80
    assert on_nvme[1] < on_disk[1] / 10
