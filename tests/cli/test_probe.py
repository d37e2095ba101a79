"""`deploy probe` through the real command line: pages, documents, files, and faults."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.probe.host import read_host
from orchestrator.probe.memory import read_memory
from orchestrator.probe.nvidia import NvidiaProbe
from orchestrator.schema import load
from tests.conftest import RunDeploy
from tests.probe.boxes import laid_out
from tests.real import nvml
from tests.real.disk import fill, small_disk
from tests.real.server import free_port

NOBODY = f"127.0.0.1:{free_port()}"
NOWHERE = {"OLLAMA_HOST": NOBODY}


def document(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    jsonschema.validate(found, load("machine"))
    return found


def test_a_page_that_fits_a_terminal(run_deploy: RunDeploy) -> None:
    done = run_deploy("probe", env={"OLLAMA_HOST": NOBODY, "COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    labels = ["machine", "CPU", "memory", "disk", "server"]
    assert [line.split()[0] for line in lines if line.split()[0] in labels] == labels
    assert len(lines) < 20
    assert all(len(line) <= 80 or "/.ollama/models" in line for line in lines)
    assert "`deploy auto` starts one" in done.stdout


def test_a_card_that_is_too_old_is_shown_with_the_reason(
    run_deploy: RunDeploy, stub: Path, tmp_path: Path
) -> None:
    done = run_deploy("probe", env=nvml.driver(stub, "gt710", tmp_path) | NOWHERE)
    assert done.returncode == 0
    told = " ".join(done.stdout.split())
    assert "NVIDIA GeForce GT 710" in told
    assert "UNUSABLE: compute capability 3.5 is below 5.0" in told


def test_eight_cards_are_a_page_and_a_document(
    run_deploy: RunDeploy, stub: Path, tmp_path: Path
) -> None:
    environ = nvml.driver(stub, "h100_x8", tmp_path) | NOWHERE
    page = run_deploy("probe", env=environ).stdout
    found = document(run_deploy("probe", "--json", env=environ).stdout)
    assert page.splitlines()[0].split(maxsplit=1)[1].startswith("8 x NVIDIA H100")
    assert [a["index"] for a in found["accelerators"]] == list(range(8))
    assert all(a["usable"] for a in found["accelerators"])


def test_a_saved_box_plans_elsewhere_and_replays(
    run_deploy: RunDeploy, stub: Path, tmp_path: Path
) -> None:
    environ = nvml.driver(stub, "rtx3090x2", tmp_path) | NOWHERE
    target = tmp_path / "box.json"
    done = run_deploy("probe", "--json", "--save", target, env=environ)
    assert done.returncode == 0
    live, saved = document(done.stdout), document(target.read_text())
    assert str(target) in done.stderr

    # A plan elsewhere sees the same cards.
    plan = json.loads(run_deploy("plan", "--machine", target, "--json").stdout)
    assert plan["machine"]["name"] == "2 x NVIDIA GeForce RTX 3090"

    # The readers find in the captured files what they found on the box.
    sight = laid_out(saved["raw"], tmp_path / "again")
    cards = NvidiaProbe(sight).read()
    assert isinstance(cards, tuple)
    sizes = [(a["memory_total_bytes"], a["pci"]) for a in live["accelerators"]]
    assert [(c.memory_total_bytes, c.pci) for c in cards] == sizes
    assert read_host(None, sight, {}).logical_cores == live["host"]["logical_cores"]
    assert read_memory(None, sight).total_bytes == live["memory"]["total_bytes"]


def test_a_saved_box_names_no_home_and_no_card(
    run_deploy: RunDeploy, stub: Path, tmp_path: Path
) -> None:
    environ = nvml.driver(stub, "rtx4090", tmp_path) | NOWHERE
    target = tmp_path / "box.json"
    assert run_deploy("probe", "--save", target, env=environ).returncode == 0
    text = target.read_text()
    assert json.loads(text)["disk"]["model_store"] == "~/.ollama/models"
    assert str(tmp_path / "person") not in text
    assert "1111-2222-3333-444444444444" not in text


def test_a_driver_that_hangs_is_given_up_and_said(
    run_deploy: RunDeploy, stub: Path, tmp_path: Path
) -> None:
    done = run_deploy("probe", env=nvml.driver(stub, "init_hangs", tmp_path) | NOWHERE, timeout=20)
    assert done.returncode == 0
    assert "did not answer within 10 s" in " ".join(done.stdout.split())


def test_what_is_measured_is_told(run_deploy: RunDeploy) -> None:
    done = run_deploy("probe", "--measure", "--json", env=NOWHERE)
    memory = document(done.stdout)["memory"]
    assert memory["bandwidth_bytes_per_s"] > 10**9
    assert memory["bandwidth_noisy"] in (True, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--save", "/no/such/folder/box.json"], "cannot be written", id="no-folder"),
        pytest.param(["--save", "/"], "/ is no file", id="a-folder"),
        pytest.param(["--save", "/dev/null"], "/dev/null is no file", id="a-device"),
        pytest.param(["--save", "/proc/box.json"], "cannot be written", id="no-right"),
        pytest.param(["--mesure"], "--mesure", id="a-flag-that-is-none"),
    ],
)
def test_what_cannot_be_done_is_one_error(
    run_deploy: RunDeploy, arguments: list[str], said: str
) -> None:
    done = run_deploy("probe", "--json", *arguments, env=NOWHERE)
    assert done.returncode == 2
    jsonschema.validate(json.loads(done.stdout), load("error"))
    assert said in done.stderr
    assert done.stderr.count("error:") == done.stderr.count("hint:") == 1


def test_a_full_disk_keeps_the_file_that_was_there(run_deploy: RunDeploy, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as folder:
        target = folder / "box.json"
        target.write_text("before")
        fill(folder)
        done = run_deploy("probe", "--save", target, env=NOWHERE)
        assert done.returncode == 6
        assert f"no space left for {target}" in done.stderr
        assert target.read_text() == "before"
        assert sorted(p.name for p in folder.iterdir()) == ["ballast", "box.json"]


@pytest.mark.parametrize("name", ["endless", "pipe"])
def test_a_machine_file_without_an_end_or_a_writer_is_refused_at_once(
    run_deploy: RunDeploy, tmp_path: Path, name: str
) -> None:
    path = Path("/dev/zero") if name == "endless" else tmp_path / "pipe"
    if name == "pipe":
        os.mkfifo(path)
    done = run_deploy("plan", "--machine", path, timeout=20)
    assert done.returncode == 2
    assert str(path) in done.stderr
