"""`deploy doctor` through the real command line, on boxes that are well and that are not."""

import json
import os
import socket
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.evidence import save
from orchestrator.schema import load
from tests.conftest import RunDeploy
from tests.real import nvml, tiny
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyModel

NOBODY = f"127.0.0.1:{free_port()}"
NOWHERE = {"OLLAMA_HOST": NOBODY}


def checks(text: str) -> dict[str, dict[str, Any]]:
    document = json.loads(text)
    jsonschema.validate(document, load("doctor"))
    return {check["name"]: check for check in document["checks"]}


def test_a_box_without_a_server_is_told_how_to_get_one(run_deploy: RunDeploy) -> None:
    done = run_deploy("doctor", env=NOWHERE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"WARN  server: no Ollama server answers at http://{NOBODY}")
    assert "-> `deploy auto` starts one" in done.stdout


@pytest.mark.parametrize(
    ("scenario", "name", "remedy"),
    [
        pytest.param("driver_mismatch", "nvidia", "reboot", id="driver-upgraded"),
        pytest.param("one_lost", "nvidia 5", "reboot", id="one-of-eight-lost"),
        pytest.param("no_permission", "nvidia", "/dev/nvidia", id="no-permission"),
    ],
)
def test_a_broken_card_fails_with_its_remedy(
    run_deploy: RunDeploy, stub: Path, tmp_path: Path, scenario: str, name: str, remedy: str
) -> None:
    done = run_deploy("doctor", "--json", env=nvml.driver(stub, scenario, tmp_path) | NOWHERE)
    assert done.returncode == 11
    found = checks(done.stdout)
    assert found[name]["outcome"] == "fail"
    assert remedy in found[name]["detail"] + found[name]["remedy"]


def test_a_card_that_works_is_well(run_deploy: RunDeploy, stub: Path, tmp_path: Path) -> None:
    done = run_deploy("doctor", "--json", env=nvml.driver(stub, "rtx4090", tmp_path) | NOWHERE)
    assert checks(done.stdout)["nvidia 0"]["outcome"] == "pass"


def test_a_real_server_is_well_and_a_torn_name_is_not(
    run_deploy: RunDeploy, server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    name = tiny.create(server, next(iter(tiny_models.values())))
    environ = {"OLLAMA_HOST": server.url}
    done = run_deploy("doctor", "--json", env=environ)
    found = checks(done.stdout)
    assert done.returncode == 0
    assert found["server"]["outcome"] == "pass"
    assert str(server.models) in found["disk"]["detail"]

    [manifest] = [p for p in (server.models / "manifests").rglob("*") if p.is_file()]
    manifest.write_text("")
    done = run_deploy("doctor", "--json", env=environ)
    torn = checks(done.stdout)["torn name"]
    assert (done.returncode, torn["outcome"]) == (11, "fail")
    assert name.partition(":")[0] in torn["detail"]


def test_a_server_at_another_address_is_named_with_it(
    run_deploy: RunDeploy, server: RealServer
) -> None:
    done = run_deploy("doctor", "--json", env=NOWHERE)
    other = checks(done.stdout)[f"server {server.pid}"]
    assert other["outcome"] == "warn"
    assert server.url in other["detail"]
    assert f"OLLAMA_HOST={server.url}" in other["remedy"]


def test_a_broken_ledger_is_said_and_hides_nothing_else(
    run_deploy: RunDeploy, tmp_path: Path
) -> None:
    ledger = tmp_path / "deploy/data/ledger.db"
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(ledger).execute("SELECT * FROM deployments")
    done = run_deploy("doctor", "--json", env=NOWHERE)
    found = checks(done.stdout)
    assert done.returncode == 11
    assert str(ledger) in found["ledger"]["detail"]
    assert "cpu" in found


def test_a_bundle_has_what_a_report_needs_and_no_secret(
    run_deploy: RunDeploy, tmp_path: Path
) -> None:
    state = tmp_path / "deploy/state"
    state.mkdir(parents=True)
    secret = "hf_abcdefghijklmnopqrstuvwxyz"
    (state / "crash-1.txt").write_text(f"HF_TOKEN={secret}\n{tmp_path / 'person'}/x\n")
    target = tmp_path / "report.zip"
    environ = {"OLLAMA_HOST": NOBODY, "HTTPS_PROXY": "http://me:pa55word@proxy:3128"}
    environ |= {"HF_TOKEN": secret, "DEPLOY_MIN_TPS": "3"}
    done = run_deploy("doctor", "--bundle", target, env=environ)
    assert done.returncode == 0
    assert str(target) in done.stderr
    with zipfile.ZipFile(target) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {"machine.json", "doctor.json", "versions.json", "history.json"} <= parts.keys()
    assert json.loads(parts["environment.json"])["DEPLOY_MIN_TPS"] == "3"
    assert json.loads(parts["versions.json"])["psutil"]
    assert "/proc/meminfo" in json.loads(parts["machine.json"])["raw"]["files"]
    assert "REDACTED" in parts["logs/crash-1.txt"]
    everything = "".join(parts.values())
    for hidden in (secret, "pa55word", str(tmp_path / "person")):
        assert hidden not in everything


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--bundle", "/no/such/x.zip"], "cannot be written", id="no-folder"),
        pytest.param(["--profile", "moon"], "no profile 'moon'", id="no-profile"),
        pytest.param(["now"], "now", id="a-word"),
    ],
)
def test_what_cannot_be_done_is_one_error(
    run_deploy: RunDeploy, arguments: list[str], said: str
) -> None:
    done = run_deploy("doctor", "--json", *arguments, env=NOWHERE)
    assert done.returncode == 2
    jsonschema.validate(json.loads(done.stdout), load("error"))
    assert said in done.stderr


def test_a_port_that_another_program_holds_is_said_to_be_so(run_deploy: RunDeploy) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run_deploy("doctor", "--json", env={"OLLAMA_HOST": host})
    found = checks(done.stdout)["server"]
    assert (done.returncode, found["outcome"]) == (11, "fail")
    assert f"pid {os.getpid()}" in found["detail"]


def test_a_bundle_takes_no_variable_that_may_be_a_secret(
    run_deploy: RunDeploy, tmp_path: Path
) -> None:
    target = tmp_path / "report.zip"
    environ = NOWHERE | {"DEPLOY_TOKEN": "deadbeef01", "DEPLOY_PASSWORD": "pa55"}
    assert run_deploy("doctor", "--bundle", target, env=environ).returncode == 0
    with zipfile.ZipFile(target) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b"deadbeef01" not in everything
    assert b"pa55" not in everything


def test_a_path_that_is_no_utf_8_is_saved(tmp_path: Path) -> None:
    save(tmp_path / "box.json", {"disk": {"model_store": "/st\udcffx"}}, {})
    assert "/st" in json.loads((tmp_path / "box.json").read_text())["disk"]["model_store"]
