"""A server with one deployed model, whose successor is deployed, killed, and deployed again."""

import subprocess
import sys
from pathlib import Path

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from tests.loop.aftermath import ALIAS, assert_clean
from tests.real.registry import Registry
from tests.real.server import RealServer, bare_environment

_REPOSITORY = Path(__file__).parents[2]
_TAGS = ("qwen2.5:0.5b", "qwen3:0.6b")


class Box:
    """Each round deploys the one of two tags that does not serve."""

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

    def runbook(self, name: str) -> "subprocess.Popen[str]":
        """Start a runbook."""
        return self._run("-m", "orchestrator", "runbook", "run", name, "--profile", self.profile)

    def finish(self) -> None:
        """Deploy the target to the end and look whether all is well."""
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
            "PYTHONPATH": str(_REPOSITORY),
        }
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=bare_environment(self.server.home) | ours,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
