"""The constants are what the data give, and the page says what the script prints."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.speed.constants import constants
from orchestrator.speed.device import NAMES
from tests.speed.published import rows

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "estimating-speed.md").read_text(encoding="utf-8")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "scripts" / "calibrate_speed.py"
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_constants_are_what_the_data_give() -> None:
    found = run("--check")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", sorted(constants().classes))
def test_the_page_has_the_constants_of_each_class(kind: str) -> None:
    found = constants().classes[kind]
    row = (
        f"| {NAMES[kind]} | {found.efficiency:.2f} | {found.launch_s * 1e6:.0f} | "
        f"{found.spread:.2f} | {found.measurements} on {found.devices} |"
    )
    assert row in PAGE


@pytest.mark.parametrize("kind", sorted(constants().prefill))
def test_the_page_has_the_prefill_shares(kind: str) -> None:
    found = constants().prefill[kind]
    row = f"| {NAMES[kind]} | {found.flops_share:.2f} | {found.spread:.2f} | {found.measurements} |"
    assert row in PAGE


def test_the_page_has_the_rest() -> None:
    found = constants()
    assert f"| a recurrent layer | + {found.recurrent:.2f} launches |" in PAGE
    assert f"| a further device | + {found.hop_s * 1e3:.2f} ms |" in PAGE
    assert f"| a release, a core | {found.cpu.bytes_per_core_s / 1e9:.1f} GB/s |" in PAGE
    assert f"| a release, of the sheet's bandwidth | {found.cpu.efficiency:.2f} |" in PAGE


@pytest.mark.parametrize("name", ["public", "holdout", "prefill", "cpu", "models"])
def test_every_row_names_its_source(name: str) -> None:
    found = rows(name)
    assert found
    assert all(r["source"].startswith(("https://", "catalogue")) for r in found)
