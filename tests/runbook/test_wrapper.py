"""scripts/deploy-cron in an environment as bare as cron's, and barer."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.runbook.box import REPOSITORY, last_line

_WRAPPER = REPOSITORY / "scripts" / "deploy-cron"


def _run(environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(_WRAPPER), "watchdog"],
        env={"PATH": "/usr/bin:/bin"} | dict(environment),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_file_is_read_and_never_run(tmp_path: Path) -> None:
    home = tmp_path / "a $(touch HARM) `touch HARM`"
    settings = tmp_path / "settings"
    settings.write_text(f"# mine\r\n\nOLLAMA_HOST=127.0.0.1:1\nDEPLOY_HOME={home}")
    found = _run({"HOME": str(tmp_path), "DEPLOY_CRON_ENV": str(settings)})
    assert found.returncode == 2
    line = last_line(found.stderr)
    assert "nothing is deployed as deploy-current at http://127.0.0.1:1 (" in line
    assert line.endswith(f"log: {home / 'state' / 'runbooks.jsonl'})")
    assert not list(tmp_path.rglob("HARM"))


def test_the_file_in_the_home_is_found_without_being_named(tmp_path: Path) -> None:
    settings = tmp_path / ".config" / "deploy" / "cron.env"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"DEPLOY_HOME={tmp_path / 'there'}\nOLLAMA_HOST=127.0.0.1:1\n")
    found = _run({"HOME": str(tmp_path)})
    assert str(tmp_path / "there") in last_line(found.stderr)


@pytest.mark.parametrize("line", ["export A=1", "A B=1", "touch HARM", "1A=2", "=x"])
def test_a_line_that_is_no_assignment_is_named(tmp_path: Path, line: str) -> None:
    settings = tmp_path / "settings"
    settings.write_text(f"DEPLOY_HOME={tmp_path}\n{line}\n")
    found = _run({"HOME": str(tmp_path), "DEPLOY_CRON_ENV": str(settings)})
    assert found.returncode == 2
    said = last_line(found.stderr)
    assert said == f"deploy-cron: exit 2: {settings}:2 is no KEY=VALUE (correct that line)"


def test_a_named_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    found = _run({"HOME": str(tmp_path), "DEPLOY_CRON_ENV": str(tmp_path / "none")})
    assert found.returncode == 2
    assert f"cannot read {tmp_path / 'none'}" in last_line(found.stderr)


def test_without_home_or_language_it_still_runs(tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    settings.write_text(f"DEPLOY_HOME={tmp_path}\nOLLAMA_HOST=127.0.0.1:1\n")
    found = _run({"DEPLOY_CRON_ENV": str(settings)})
    assert found.returncode == 2
    assert "nothing is deployed" in last_line(found.stderr)
