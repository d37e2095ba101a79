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


SHOWN = "LoadState=loaded\nMainPID=812\nEnvironment=PATH=/usr/bin OLLAMA_MODELS=/first\n"


def test_the_files_that_a_unit_names_win_over_its_own_variables(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ollama.env").write_text(
        "# OLLAMA_MODELS=/commented\n; X=1\n\nOLLAMA_MODELS=/second\nOLLAMA_HOST = 'box:8080'\n"
        'OLLAMA_ORIGINS="a b"\nno assignment\n=nothing\n'
    )
    (tmp_path / "etc" / "more.d").mkdir()
    (tmp_path / "etc" / "more.d" / "9.env").write_text("OLLAMA_MODELS=/data/\\\nmodels\n")
    unit = parse_unit(
        f"{SHOWN}EnvironmentFiles=/etc/ollama.env (ignore_errors=no)\n"
        "EnvironmentFiles=/etc/more.d/*.env (ignore_errors=yes)\n"
        "EnvironmentFiles=/etc/absent (ignore_errors=yes)\n",
        tmp_path,
    )
    assert unit
    assert unit.environment_known
    assert unit.environment == {
        "PATH": "/usr/bin",
        "OLLAMA_MODELS": "/data/models",
        "OLLAMA_HOST": "box:8080",
        "OLLAMA_ORIGINS": "a b",
    }
    assert unit.port == 8080


@pytest.mark.parametrize(
    ("more", "known"),
    [
        pytest.param("", True, id="nothing-else"),
        pytest.param("EnvironmentFiles=\nPassEnvironment=\n", True, id="empty"),
        pytest.param("EnvironmentFiles=/folder (ignore_errors=yes)\n", False, id="unreadable"),
        pytest.param("EnvironmentFiles=/absent (ignore_errors=no)\n", False, id="gone-meanwhile"),
        pytest.param("EnvironmentFiles=/absent (ignore_errors=yes)\n", True, id="allowed-to-miss"),
        pytest.param("EnvironmentFiles=/a\0b (ignore_errors=yes)\n", False, id="no-path"),
        pytest.param("PassEnvironment=HTTPS_PROXY\n", False, id="systemds-own"),
        pytest.param("PassEnvironment=PATH\n", True, id="systemds-own-overridden"),
    ],
)
def test_a_unit_says_whether_all_of_its_variables_are_known(
    tmp_path: Path, more: str, known: bool
) -> None:
    (tmp_path / "folder").mkdir()  # root may read every file
    unit = parse_unit(SHOWN + more, tmp_path)
    assert unit
    assert unit.environment_known is known


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
DropInPaths=/etc/systemd/system/ollama.service.d/override.conf
EnvironmentFiles=/nowhere/ollama.env (ignore_errors=no)"""
    # The real one shows what it is asked for.
    asked = 'for each in "$@"; do grep "^${each#-p}=" ' + f"{tmp_path}/said; done; true"
    (tmp_path / "said").write_text(f"{said}\n")
    _systemctl(tmp_path, asked, monkeypatch)

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
    assert not unit.environment_known
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
