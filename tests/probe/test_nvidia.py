import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.machine import Absent, Accelerator
from orchestrator.machine_file import with_known_facts
from orchestrator.probe.nvidia import NvidiaProbe
from orchestrator.probe.pci import AMD, UnreadProbe
from orchestrator.usability import usability
from tests.real import nvml

MIB = 2**20
Read = Callable[[str], Any]


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def read(stub: Path, tmp_path: Path) -> Read:
    return lambda scenario: nvml.read_nvidia(stub, scenario, tmp_path)


def test_a_card_with_all_its_facts(read: Read) -> None:
    (card,) = read("rtx4090")
    assert card == {
        "vendor": "nvidia",
        "name": "NVIDIA GeForce RTX 4090",
        "index": 0,
        "uuid": "GPU-00000000-1111-2222-3333-444444444444",
        "memory_total_bytes": 24564 * MIB,
        "memory_free_bytes": 24200 * MIB,
        "compute_capability": "8.9",
        "gfx": None,
        "driver": "570.86",
        "unified_memory": False,
        "bandwidth_bytes_per_s": 1_008_096_000_000,
        "usable": True,
        "unusable_reason": None,
    }


def test_nvml_is_shut_down_again(read: Read, tmp_path: Path) -> None:
    read("rtx4090")
    calls = (tmp_path / "calls.log").read_text().splitlines()
    assert (calls[0], calls[-1]) == ("nvmlInit 0", "nvmlShutdown 0")


def test_two_cards_keep_their_indexes_and_uuids(read: Read) -> None:
    cards = read("rtx3090x2")
    assert [c["index"] for c in cards] == [0, 1]
    assert len({c["uuid"] for c in cards}) == 2


def test_memory_that_somebody_holds_is_not_free(read: Read) -> None:
    (card,) = read("rtx3060_busy")
    assert card["memory_free_bytes"] == 3 * 1024 * MIB


def test_an_old_card_on_an_old_driver_is_read_and_judged(read: Read) -> None:
    (card,) = read("gt710")
    assert (card["compute_capability"], card["bandwidth_bytes_per_s"]) == ("3.5", None)
    reason = usability(Accelerator(**card), server_version="0.9.3")
    assert reason == "compute capability 3.5 is below 5.0, which Ollama needs"


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        pytest.param("driver_mismatch", "kernel module is still the old one: reboot", id="18"),
        pytest.param("driver_not_loaded", "kernel module is not loaded", id="9"),
        pytest.param("no_permission", "no permission to open /dev/nvidia*", id="4"),
        pytest.param("unknown_error", "unknown error", id="999"),
        pytest.param("no_gpus", "lists no GPU", id="no-gpus"),
    ],
)
def test_why_nvml_gives_nothing(read: Read, scenario: str, reason: str) -> None:
    told = read(scenario)
    assert isinstance(told, str)
    assert reason in told


def test_one_lost_card_of_eight_costs_only_itself(read: Read) -> None:
    cards = read("one_lost")
    assert [c["index"] for c in cards] == list(range(8))
    assert [c["index"] for c in cards if not c["usable"]] == [5]
    assert "lost" in cards[5]["unusable_reason"]
    assert cards[5]["memory_total_bytes"] is None


def test_a_card_that_is_lost_after_its_handle_was_given(read: Read) -> None:
    lost, good = read("lost_after_handle")
    assert "lost" in lost["unusable_reason"]
    assert lost["name"] == "NVIDIA GeForce RTX 3090"
    assert good["usable"]


def test_a_getter_that_fails_costs_a_field_and_not_the_card(read: Read) -> None:
    (card,) = read("getters_fail")
    unknown = ("uuid", "compute_capability", "bandwidth_bytes_per_s")
    assert [card[field] for field in unknown] == [None, None, None]
    assert (card["memory_total_bytes"], card["usable"]) == (24564 * MIB, True)


def test_mig_slices_stand_beside_their_unusable_card(read: Read) -> None:
    parent, small, large = read("h100_mig")
    assert "MIG" in parent["unusable_reason"]
    assert [c["uuid"] for c in (small, large)] == ["MIG-small", "MIG-large"]
    assert [c["index"] for c in (parent, small, large)] == [0, 1, 2]
    assert [c["memory_free_bytes"] for c in (small, large)] == [9856 * MIB, 40320 * MIB]
    assert large["compute_capability"] == "9.0"
    assert small["usable"]
    assert large["usable"]


def test_a_gpu_that_shares_the_hosts_memory(read: Read) -> None:
    (card,) = read("gb10")
    assert (card["unified_memory"], card["memory_total_bytes"], card["usable"]) == (
        True,
        None,
        True,
    )
    assert with_known_facts(Accelerator(**card)).bandwidth_bytes_per_s == 273 * 10**9


def test_an_error_is_no_sign_of_shared_memory(read: Read) -> None:
    (card,) = read("memory_unknown")
    assert not card["unified_memory"]
    assert "error 999" in card["unusable_reason"]


def test_a_driver_that_hangs_is_given_up(read: Read) -> None:
    started = time.monotonic()
    told = read("init_hangs")
    assert time.monotonic() - started < 12
    assert "did not answer within 10 s" in told


def absent(root: Path, *libraries: str) -> str:
    found = NvidiaProbe(libraries=libraries or ("libnvidia-none.so.9",), root=root).read()
    assert isinstance(found, Absent)
    return found.reason


def device(root: Path, vendor: str, kind: str) -> None:
    folder = root / "sys/bus/pci/devices/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")


def test_no_library_and_no_card(tmp_path: Path) -> None:
    assert absent(tmp_path).endswith("no NVIDIA GPU on the PCI bus")


def test_no_library_and_a_card(tmp_path: Path) -> None:
    device(tmp_path, "0x10de", "0x030200")
    assert absent(tmp_path).startswith("GPU present at 0000:01:00.0, no driver library")


def test_an_audio_function_is_no_card(tmp_path: Path) -> None:
    device(tmp_path, "0x10de", "0x040300")
    assert absent(tmp_path).endswith("no NVIDIA GPU on the PCI bus")


def test_a_driver_that_only_proc_shows(tmp_path: Path) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM version")
    assert absent(tmp_path).startswith("GPU present, no driver library")


def test_a_library_that_is_not_nvidias(tmp_path: Path) -> None:
    """The child ends without an answer: its last line is the reason."""
    reason = absent(tmp_path, "libc.so.6")
    assert "libnvidia-ml" in reason or "driver library" in reason


def test_a_vendor_that_is_not_read_is_named_with_its_device(tmp_path: Path) -> None:
    device(tmp_path, "0x1002", "0x030000")
    found = UnreadProbe("amd", AMD, "AMD GPU", tmp_path).read()
    assert found.reason.startswith("AMD GPU at 0000:01:00.0 is present")
    assert UnreadProbe("amd", AMD, "AMD GPU", tmp_path / "x").read().reason.startswith("no AMD")


def test_a_python_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", os.fspath(tmp_path / "python"))
    assert "no second Python" in absent(tmp_path, "libc.so.6")
