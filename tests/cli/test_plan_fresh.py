"""A plan on a box that has no Ollama yet: for the one that `auto` would install there."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDeploy
from tests.real import nvml
from tests.real.server import free_port


@pytest.mark.parametrize(
    ("scenario", "runtime", "placement"),
    [("rtx4090", "release", "gpu"), ("gt710", "embedded", "cpu")],
    ids=["a-card-for-the-release", "a-card-too-old"],
)
def test_a_box_without_an_ollama_is_planned_for_what_it_would_get(
    run_deploy: RunDeploy, stub: Path, tmp_path: Path, scenario: str, runtime: str, placement: str
) -> None:
    nobody = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}", "PATH": "/nowhere"}
    done = run_deploy("plan", "--json", env=nvml.driver(stub, scenario, tmp_path) | nobody)

    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["chosen"]["placement"] == placement
    assert plan["server_version"] == ("0.30.0" if runtime == "release" else "0.9.3")
