import os
import time
from pathlib import Path

import pytest

from orchestrator.runtime.unit import SystemdUnit, parse_unit, systemd_unit


def test_a_systemd_unit() -> None:
    shown = (
        "LoadState=loaded\nMainPID=812\nUser=ollama\n"
        'Environment=PATH=/usr/bin OLLAMA_HOST=0.0.0.0:8080 "OLLAMA_MODELS=/srv/my models"\n'
    )
    unit = parse_unit(shown)
    assert unit
    assert (unit.main_pid, unit.user, unit.port) == (812, "ollama", 8080)
    assert unit.environment["OLLAMA_MODELS"] == "/srv/my models"


@pytest.mark.parametrize("shown", ["", "LoadState=not-found\nMainPID=0\nUser=\nEnvironment=\n"])
def test_no_systemd_unit(shown: str) -> None:
    assert parse_unit(shown) is None


def test_a_unit_that_does_not_run() -> None:
    assert parse_unit("LoadState=loaded\nMainPID=0\nUser=ollama\n") == SystemdUnit(user="ollama")


def _systemctl(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "systemctl"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setattr("orchestrator.runtime.unit.BOOTED", folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_systemd_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = """MainPID=812
User=ollama
Environment=PATH=/usr/bin "OLLAMA_MODELS=/big disk/models" OLLAMA_HOST=0.0.0.0
LoadState=loaded
ActiveState=active
DropInPaths=/etc/systemd/system/ollama.service.d/override.conf"""
    _systemctl(tmp_path, f"cat <<'END'\n{said}\nEND", monkeypatch)

    unit = systemd_unit()

    assert unit is not None
    assert (unit.name, unit.active, unit.user, unit.main_pid) == (
        "ollama.service",
        True,
        "ollama",
        812,
    )
    assert unit.environment["OLLAMA_MODELS"] == "/big disk/models"
    assert unit.environment["OLLAMA_HOST"] == "0.0.0.0"
    assert unit.drop_ins == ("/etc/systemd/system/ollama.service.d/override.conf",)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("echo LoadState=not-found; echo MainPID=0", id="no-such-unit"),
        pytest.param("echo LoadState=loaded; exit 1", id="fails"),
        pytest.param("echo nonsense", id="nonsense"),
        pytest.param("exec sleep 20", id="hangs"),
    ],
)
def test_systemd_without_ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    _systemctl(tmp_path, body, monkeypatch)
    begun = time.monotonic()

    assert systemd_unit() is None
    assert time.monotonic() - begun < 8


def test_a_box_that_systemd_did_not_boot_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    _systemctl(tmp_path, f"touch {asked}", monkeypatch)
    monkeypatch.setattr("orchestrator.runtime.unit.BOOTED", tmp_path / "absent")

    assert systemd_unit() is None
    assert not asked.exists()


@pytest.mark.parametrize(
    ("host", "port"),
    [("", 11434), ("box", 11434), ("[::]:8080", 8080), ("http://box", 80), ("box:99999", None)],
)
def test_the_port_of_a_unit(host: str, port: int | None) -> None:
    assert SystemdUnit(environment={"OLLAMA_HOST": host}).port == port
