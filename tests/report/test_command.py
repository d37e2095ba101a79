"""`deploy report` as a person calls it: where it writes, what it prints, how it fails."""

import json
import os
from pathlib import Path
from xml.dom import minidom

import jsonschema
import pytest

from orchestrator.schema import load
from tests.conftest import RunDeploy
from tests.real import disk
from tests.report.ledgers import fill

PLOTS = {
    "promises", "memory", "history-decode", "history-prefill", "history-ttft", "history-load",
    "depth-decode", "depth-prefill", "users-rate", "users-wait",
}  # fmt: skip


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path) -> Path:
    """Three nights, where `run_deploy` looks for them."""
    path = tmp_path / "deploy" / "data" / "ledger.db"
    fill(path, 3)
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder that `run_deploy` calls from."""
    folder = tmp_path / "person"
    folder.mkdir()
    return folder


def test_without_a_name_the_page_lies_in_this_folder_and_names_no_account(
    run_deploy: RunDeploy, here: Path
) -> None:
    done = run_deploy("report")
    assert (done.returncode, done.stderr) == (0, "")
    page = here / "deploy-report.html"
    size = page.stat().st_size
    assert done.stdout == f"runs      3\nreport    deploy-report.html ({size / 1000:.0f} kB)\n"
    assert [p.name for p in here.iterdir()] == [page.name]
    assert page.stat().st_mode & 0o777 == 0o644
    text = page.read_text("utf-8")
    for private in (str(here.parent), "margarethe", os.uname().nodename):
        assert len(private) < 3 or private not in text


def test_the_document_tells_what_was_written(run_deploy: RunDeploy, here: Path) -> None:
    done = run_deploy("report", "-o", "a.html", "--json")
    answer = json.loads(done.stdout)
    jsonschema.validate(answer, load("report"))
    size = (here / "a.html").stat().st_size
    counts = {"bytes": size, "runs": 3, "deployments": 1}
    nothing = {"svg": None, "prometheus": None}
    assert answer == {"schema": 1, "file": "a.html", **counts, **nothing}


def test_a_dash_is_stdout_and_the_same_bytes(run_deploy: RunDeploy, here: Path) -> None:
    done = run_deploy("report", "-o", "-")
    assert (done.returncode, done.stderr) == (0, "")
    run_deploy("report", "-o", "a.html")
    assert done.stdout == (here / "a.html").read_text("utf-8")
    both = run_deploy("report", "-o", "-", "--json")
    assert both.returncode == 2
    assert "both want stdout" in both.stderr


def test_every_plot_is_a_file_too_when_asked(run_deploy: RunDeploy, here: Path) -> None:
    done = run_deploy("report", "--svg", "deep/plots", "--prometheus", "deploy.prom")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "runs      3\nplots     deep/plots\ntextfile  deploy.prom\n"
    assert not (here / "deploy-report.html").exists()
    assert {p.stem for p in (here / "deep" / "plots").glob("*.svg")} == PLOTS
    for path in (here / "deep" / "plots").iterdir():
        assert minidom.parse(str(path)).documentElement
    assert "deploy_bench_decode_tokens_per_second" in (here / "deploy.prom").read_text()


def test_a_page_that_cannot_be_written_is_a_usage_error_and_leaves_the_old_one(
    run_deploy: RunDeploy, here: Path
) -> None:
    for target in ("missing/a.html", "/dev/null"):
        done = run_deploy("report", "-o", target)
        assert done.returncode == 2
        assert f"{target}" in done.stderr
        assert "hint:" in done.stderr
    (here / "file").write_text("mine")
    assert run_deploy("report", "--svg", "file/plots").returncode == 2
    assert (here / "file").read_text() == "mine"
    assert not list(here.glob(".deploy-*"))


def test_a_full_disk_is_said_and_the_old_page_stays(run_deploy: RunDeploy, tmp_path: Path) -> None:
    with disk.small_disk(tmp_path / "small", "1m") as small:
        page = small / "a.html"
        page.write_text("the page of yesterday")
        disk.fill(small)
        done = run_deploy("report", "-o", page)
        assert done.returncode == 6
        assert "no space left" in done.stderr
        assert page.read_text() == "the page of yesterday"
        assert [p.name for p in small.iterdir() if p.name.startswith(".")] == []
        assert run_deploy("report", "-o", "b.html", "--svg", small / "plots").returncode == 6


def test_an_unknown_model_is_answered_with_those_that_were_measured(run_deploy: RunDeploy) -> None:
    done = run_deploy("report", "--model", "qwen3:8b")
    assert done.returncode == 2
    assert "qwen3:8b was never measured" in done.stderr
    assert "deepseek-r1:7b" in done.stderr


def test_a_box_without_a_ledger_gets_a_page_and_no_ledger(
    run_deploy: RunDeploy, here: Path, ledger: Path
) -> None:
    ledger.rename(ledger.with_suffix(".gone"))
    done = run_deploy("report")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Nothing is deployed or measured yet" in (here / "deploy-report.html").read_text("utf-8")
    assert not ledger.exists()


def test_a_home_that_cannot_be_written_costs_nothing_but_time(
    run_deploy: RunDeploy, here: Path, tmp_path: Path
) -> None:
    (tmp_path / "deploy" / "cache").write_text("no folder")  # where the list of fonts would lie
    done = run_deploy("report")
    assert (done.returncode, done.stderr) == (0, "")
    assert (here / "deploy-report.html").exists()
