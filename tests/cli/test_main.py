"""What every command shares: closed streams, help of groups, hints that name the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunDeploy

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("estimate", "deepseek-r1:7b"), id="progress"),
        pytest.param(("estimate", "deepseek-r1:7b", "-v"), id="events"),
        pytest.param(("estimate", "moon:7b"), id="failure"),
    ],
)
def test_a_closed_stderr_changes_nothing(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "orchestrator", *words]
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    codes = [
        subprocess.run(c, cwd=ROOT, capture_output=True, check=False).returncode
        for c in (command, closed)
    ]
    assert codes[0] == codes[1]


@pytest.mark.parametrize("group", ["profile", "runtime"])
def test_a_group_by_itself_prints_its_help(run_deploy: RunDeploy, group: str) -> None:
    done = run_deploy(group)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Usage: deploy {group}")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        pytest.param(("auto", "--parallel", "999"), "see `deploy auto --help`", id="range"),
        pytest.param(("plan", "--max-memory", "12"), "see `deploy plan --help`", id="no-unit"),
        pytest.param(
            ("plan", "qwen2.5:3b"), "--allow-licence takes models whose licence", id="licence"
        ),
        pytest.param(
            ("estimate", "https://huggingface.co/Qwen/Q/blob/main/a.gguf"),
            "deploy estimate hf:Qwen/Q/a.gguf",
            id="a-page-of-the-hub",
        ),
    ],
)
def test_a_hint_names_what_to_do(run_deploy: RunDeploy, words: tuple[str, ...], hint: str) -> None:
    assert f"hint: {hint}" in run_deploy(*words).stderr


def test_an_embedding_model_is_refused_by_its_name(run_deploy: RunDeploy) -> None:
    done = run_deploy("plan", "qwen3-embedding:8b")
    assert done.returncode == 3
    assert "unsupported  an embedding model cannot chat" in done.stdout


def test_a_placement_without_a_gpu_is_told(run_deploy: RunDeploy, tmp_path: Path) -> None:
    path = tmp_path / "box.json"
    path.write_text('{"memory": {"total_bytes": 68719476736}}')
    done = run_deploy("plan", "--placement", "gpu", "--machine", path)
    assert done.returncode == 3
    assert "error: placement gpu is asked for, and there is no usable GPU" in done.stderr


def test_a_model_without_its_suffix_is_read(run_deploy: RunDeploy, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"PK\x03\x04" + bytes(os.sysconf("SC_PAGE_SIZE")))
    done = run_deploy("estimate", path)
    assert "not a GGUF file: it starts with bytes 50 4b 03 04" in done.stderr


def test_the_catalogue_says_what_it_does_not_list(run_deploy: RunDeploy) -> None:
    assert "tags are not listed" in run_deploy("catalog").stdout
    assert "tags are not listed (" not in run_deploy("catalog", "--all").stdout
    assert "--json" in run_deploy("catalog", "--help").stdout
    done = run_deploy("catalog", "--json", "check", "--registry", "ftp://x")
    assert (done.returncode, "is not the URL of a registry" in done.stderr) == (2, True)
