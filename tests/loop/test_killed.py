"""kill -9 at one instant after another: the next run finishes, and nothing is left to clean."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from orchestrator.runtime import Binary
from tests.loop.aftermath import ALIAS, assert_clean, assert_still_serves
from tests.real.registry import Registry
from tests.real.server import RealServer, bare_environment
from tests.real.tiny import TinyCatalog

pytestmark = pytest.mark.timeout(900)
_HERE = Path(__file__)
_TAGS = ("qwen2.5:0.5b", "qwen3:0.6b")
_KILLED = -signal.SIGKILL

INSTANTS = (
    ("orchestrator.ledger.Ledger.begin", "after", 1),
    ("orchestrator.source.download.Download.follow", "before", 1),
    ("orchestrator.cli.terminal.Plain.advance", "before", 2),
    ("orchestrator.server.Server.copy", "before", 1),  # pulled under the registry's name
    ("orchestrator.server.Server.copy", "after", 1),  # and under its own
    ("orchestrator.server.Server.derive", "before", 1),
    ("orchestrator.server.Server.derive", "after", 1),
    ("orchestrator.server.Server.load", "after", 1),
    ("orchestrator.bench.request.Stopwatch.time", "after", 3),
    ("orchestrator.server.Server.chat_completion", "after", 1),
    ("orchestrator.settle.finish", "before", 1),  # proven
    ("orchestrator.store.staging._make_folders", "before", 1),  # the alias is staged
    ("orchestrator.settle.move", "after", 1),
    ("orchestrator.server.Server.load", "after", 2),
    ("orchestrator.ledger.Ledger.accept", "before", 1),
    ("orchestrator.ledger.Ledger.accept", "after", 1),
)


class Box:
    """One server with one deployed model; each round deploys the other of two tags."""

    def __init__(self, server: RealServer, registry: Registry, home: Home, profile: Path) -> None:
        self.server, self.registry, self.home, self.profile = server, registry, home, profile
        self.serves: str | None = None

    @property
    def target(self) -> str:
        """The tag that is not deployed."""
        return _TAGS[self.serves == _TAGS[0]]

    def auto(self, *before: str | Path, more: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        """Start a run that deploys the target; `before` goes before the arguments."""
        program = before or ("-m", "orchestrator")
        asked = ("auto", self.target, "--profile", self.profile, "--registry", self.registry.url)
        return self._run(*program, *asked, *more)

    def finish(self) -> None:
        """Run to the end and look whether all is well."""
        run = self.auto()
        said = run.communicate(timeout=300)[1]
        assert run.returncode == 0, said
        self.serves = self.target
        assert_clean(self.server, self.home, self.serves)

    def forget_target(self) -> None:
        """Take the other tag away, so that the next round downloads it."""
        ledger = Ledger(self.home.ledger)
        if previous := ledger.previous(self.server.url, ALIAS):
            ledger.end(previous["id"], "removed")
        for model in self.server.client().list().models:
            if self.target in str(model.model):
                self.server.client().delete(str(model.model))

    def _run(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        ours = {
            "OLLAMA_HOST": self.server.url,
            "DEPLOY_HOME": str(self.home.data.parent),
            "PYTHONPATH": str(_HERE.parents[2]),
        }
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=bare_environment(self.server.home) | ours,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
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


def _random_kills(box: Box, seed: int, count: int) -> None:
    """Kill `count` runs at moments drawn between start and end of a whole one."""
    rng = random.Random(seed)
    box.forget_target()
    began = time.monotonic()
    box.finish()
    whole_s = time.monotonic() - began
    for _ in range(count):
        box.forget_target()
        run = box.auto()
        time.sleep(rng.uniform(0, whole_s))
        run.kill()
        run.communicate()
        box.finish()


def test_killed_at_random_moments_the_next_run_finishes(box: Box) -> None:
    _random_kills(box, seed=20261125, count=3)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_fifty_random_kills_leave_nothing_to_clean(box: Box) -> None:
    _random_kills(box, seed=int(os.environ.get("SOAK_SEED", "1")), count=50)


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
