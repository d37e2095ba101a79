"""kill -9 at one instant after another: the next run finishes, and nothing is left to clean."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.home import Home
from orchestrator.runtime import Binary
from tests.loop.aftermath import assert_clean, assert_still_serves
from tests.loop.box import Box
from tests.real.registry import Registry
from tests.real.server import RealServer
from tests.real.tiny import TinyCatalog

pytestmark = pytest.mark.timeout(900)
_HERE = Path(__file__)
_KILLED = -signal.SIGKILL


def _at(where: str, moment: str, number: int = 1, *, soak: bool = False) -> Any:
    """One instant; the ones next to another are left to `make soak`."""
    marks = [pytest.mark.soak] if soak else []
    name = f"{moment}-{where.rpartition('.')[2]}-{number}"
    return pytest.param(where, moment, number, marks=marks, id=name)


_SERVER = "orchestrator.server.Server"
_LEDGER = "orchestrator.ledger.Ledger"
INSTANTS = (
    _at(f"{_LEDGER}.begin", "after", soak=True),
    _at("orchestrator.source.download.Download.follow", "before", soak=True),
    _at("orchestrator.cli.terminal.Plain.advance", "before", 2),
    _at(f"{_SERVER}.copy", "before"),  # pulled under the registry's name
    _at(f"{_SERVER}.copy", "after", soak=True),  # and under its own
    _at(f"{_SERVER}.derive", "before", soak=True),
    _at(f"{_SERVER}.derive", "after"),
    _at(f"{_SERVER}.load", "after", soak=True),
    _at("orchestrator.bench.request.Stopwatch.time", "after", 3),
    _at(f"{_SERVER}.chat_completion", "after", soak=True),
    _at("orchestrator.settle._enter", "before"),  # proven
    _at("orchestrator.store.staging.make_folders", "before"),  # the alias is staged
    _at("orchestrator.settle.move", "after"),
    _at(f"{_SERVER}.load", "after", 2, soak=True),
    _at(f"{_LEDGER}.accept", "before"),
    _at(f"{_LEDGER}.accept", "after"),
)


@pytest.fixture(scope="module")
def box(
    runtime_binary: Binary,
    registry: Registry,
    tiny_catalog: TinyCatalog,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Box]:
    """A server where qwen2.5:0.5b serves already."""
    folder = tmp_path_factory.mktemp("killed")
    profile = folder / "tiny.toml"
    catalog = json.dumps(str(tiny_catalog.path))
    profile.write_text(f"catalog = {catalog}\nmin_tps = 0\nvalidation_s = 1\n")
    home = Home.of({"DEPLOY_HOME": str(folder / "deploy")})
    with RealServer(runtime_binary.path, runtime_binary.library_path, folder / "server") as server:
        box = Box(server, registry, home, profile)
        box.finish()
        yield box


@pytest.mark.parametrize(("where", "moment", "number"), INSTANTS)
def test_killed_at_an_exact_instant_the_next_run_finishes(
    box: Box, where: str, moment: str, number: int
) -> None:
    box.forget_target()
    run = box.auto(_HERE.with_name("killed_at.py"), where, moment, str(number))
    said = run.communicate(timeout=300)[1]
    assert run.returncode == _KILLED, said
    accepted = (where, moment) == ("orchestrator.ledger.Ledger.accept", "after")
    assert_still_serves(box.server, box.target if accepted else box.serves, box.home)
    box.finish()


def _kill_at_random(
    start: Callable[[], "subprocess.Popen[str]"], rng: random.Random, whole_s: float
) -> None:
    run = start()
    time.sleep(rng.uniform(0, whole_s))
    run.kill()
    run.communicate()


def _random_kills(box: Box, seed: int, count: int) -> None:
    """Kill `count` runs of the loop at moments drawn between start and end of a whole one."""
    rng = random.Random(seed)
    box.forget_target()
    began = time.monotonic()
    box.finish()
    whole_s = time.monotonic() - began
    for _ in range(count):
        box.forget_target()
        _kill_at_random(box.auto, rng, whole_s)
        box.finish()


def _runbook(box: Box, name: str) -> float:
    """Run it to the end, see that all is well, and return how long it took."""
    began = time.monotonic()
    run = box.runbook(name)
    said = run.communicate(timeout=600)[1]
    took_s = time.monotonic() - began
    assert (run.returncode, said) == (0, "")
    assert box.serves
    assert_clean(box.server, box.home, box.serves)
    return took_s


def _random_kills_of_a_runbook(box: Box, name: str, seed: int, count: int) -> None:
    rng = random.Random(seed)
    unload = partial(box.server.client().generate, "deploy-current", "", keep_alive=0)
    unload()
    whole_s = _runbook(box, name)
    for _ in range(count):
        unload()  # so that the watchdog has something to do
        _kill_at_random(partial(box.runbook, name), rng, whole_s)
        _runbook(box, name)


RUNBOOKS = ("watchdog", "nightly-bench", "refresh")


def test_killed_at_random_moments_the_next_run_finishes(box: Box) -> None:
    _random_kills(box, seed=20261125, count=3)


@pytest.mark.parametrize("name", ["watchdog", "refresh"])
def test_a_runbook_killed_at_random_moments_leaves_nothing_to_clean(box: Box, name: str) -> None:
    _random_kills_of_a_runbook(box, name, seed=20261125, count=3)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_fifty_random_kills_of_the_loop_leave_nothing_to_clean(box: Box) -> None:
    _random_kills(box, seed=int(os.environ.get("SOAK_SEED", "1")), count=50)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", RUNBOOKS)
def test_twenty_random_kills_of_a_runbook_leave_nothing_to_clean(box: Box, name: str) -> None:
    seed = int(os.environ.get("SOAK_SEED", "1"))
    _random_kills_of_a_runbook(box, name, seed=seed, count=20)


@pytest.mark.parametrize("stage", ["pull.begin", "measure.begin"])
def test_a_server_killed_meanwhile_ends_the_run_and_the_next_one_finishes(
    box: Box, stage: str
) -> None:
    box.forget_target()
    run = box.auto("-m", "orchestrator", more=("--log-format", "json"))
    assert run.stderr
    for line in run.stderr:
        if stage in line:
            break
    time.sleep(0.5)
    box.server.kill(runners=False)
    said = run.stderr.read()
    run.stderr.close()
    assert run.wait(120) == 4, said
    assert "error: " in said
    assert "Ollama server" in said
    box.server.start()
    box.finish()
