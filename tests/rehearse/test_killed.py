"""kill -9 in the middle of a rehearsal: the next run takes away whatever was there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.home import Home
from tests.conftest import RunDeploy
from tests.real.registry import Registry
from tests.real.server import RealServer, bare_environment
from tests.rehearse.conftest import left_of_rehearsals

pytestmark = pytest.mark.timeout(600)
_REPOSITORY = Path(__file__).parents[2]
_KILLED_AT = _REPOSITORY / "tests" / "loop" / "killed_at.py"
_TAG = "qwen2.5:0.5b"
SOAK = pytest.mark.soak  # instants next to another
INSTANTS = (
    pytest.param("orchestrator.cli.terminal.Plain.advance", "before", 1, id="half-written"),
    pytest.param("orchestrator.standin.stage.Stage._enter", "before", 1, id="written", marks=SOAK),
    pytest.param("orchestrator.standin.stage.Stage._enter", "after", 1, id="a-blob"),
    pytest.param("orchestrator.server.Server.create", "after", 1, id="named", marks=SOAK),
    pytest.param("orchestrator.server.Server.load", "after", 1, id="in-memory"),
    pytest.param(
        "orchestrator.bench.request.Stopwatch.time",
        "after",
        3,
        id="measured",
        marks=SOAK,
    ),
    pytest.param("orchestrator.server.Server.delete", "before", 1, id="not-deleted", marks=SOAK),
    pytest.param("orchestrator.server.Server.delete", "after", 1, id="deleted", marks=SOAK),
)


def killed(
    server: RealServer, home: Home, where: str, moment: str, number: int, profile: Path
) -> None:
    """Run a rehearsal until it dies there."""
    ours = {
        "OLLAMA_HOST": server.url,
        "DEPLOY_HOME": str(home.data.parent),
        "PYTHONPATH": str(_REPOSITORY),
    }
    asked = ("plan", _TAG, "--rehearse", "--profile", str(profile))
    done = subprocess.run(
        [sys.executable, _KILLED_AT, where, moment, str(number), *asked],
        env=bare_environment(server.home) | ours, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(("where", "moment", "number"), INSTANTS)
def test_the_next_rehearsal_leaves_nothing(
    run_deploy: RunDeploy,
    server: RealServer,
    profile: Path,
    home: Home,
    where: str,
    moment: str,
    number: int,
) -> None:
    killed(server, home, where, moment, number, profile)
    found = run_deploy(
        "plan", _TAG, "--rehearse", "--profile", profile,
        env={"OLLAMA_HOST": server.url}, timeout=200,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "cleaned up after a rehearsal that was killed" in found.stderr
    assert left_of_rehearsals(server, home.data.parent) == []


@pytest.mark.soak
def test_so_does_the_next_auto_without_a_rehearsal_of_its_own(
    run_deploy: RunDeploy, server: RealServer, registry: Registry, profile: Path, home: Home
) -> None:
    killed(server, home, "orchestrator.server.Server.load", "after", 1, profile)
    assert left_of_rehearsals(server, home.data.parent) != []
    found = run_deploy(
        "auto", _TAG, "--profile", profile, "--registry", registry.url,
        env={"OLLAMA_HOST": server.url}, timeout=200,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert left_of_rehearsals(server, home.data.parent) == []


def test_one_that_is_terminated_cleans_up_itself(
    server: RealServer, profile: Path, home: Home
) -> None:
    ours = {"OLLAMA_HOST": server.url, "DEPLOY_HOME": str(home.data.parent)}
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "plan", _TAG, "--rehearse", "--profile", profile],
        env=bare_environment(server.home) | ours | {"PYTHONPATH": str(_REPOSITORY)},
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    ) as run:  # fmt: skip
        assert run.stderr
        for line in run.stderr:
            if line.startswith("loading deploy/rehearsal:"):
                os.kill(run.pid, signal.SIGTERM)
                break
        run.stderr.read()
    assert run.returncode == 143
    assert left_of_rehearsals(server, home.data.parent) == []
