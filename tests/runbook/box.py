"""A box with a tiny model deployed, as cron finds it."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.home import Home
from orchestrator.ledger import Ledger
from tests.real import tiny
from tests.real.server import RealServer, bare_environment
from tests.real.tiny import TinyCatalog, TinyModel

REPOSITORY = Path(__file__).parents[2]
TAG = "qwen2.5:0.5b"
MODEL = f"deploy/{TAG}-ctx4096"
ALIAS = "deploy-current:latest"
CONTEXT = 4096


def profile(catalog: TinyCatalog, path: Path, more: str = "") -> Path:
    """Write a profile of the tiny catalogue, without a floor in speed: that is not tested here."""
    named = json.dumps(str(catalog.path))
    path.write_text(f"catalog = {named}\nmin_tps = 0\nvalidation_s = 2\n{more}")
    return path


@dataclass(frozen=True, slots=True)
class Box:
    """One server, one DEPLOY_HOME below `folder`, one profile."""

    server: RealServer
    folder: Path
    profile: Path

    @property
    def home(self) -> Home:
        """Deploy's own folders."""
        return Home.of(self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """What a run of deploy is given."""
        person = self.folder / "person"
        person.mkdir(parents=True, exist_ok=True)
        return bare_environment(person) | {
            "DEPLOY_HOME": str(self.folder / "deploy"),
            "OLLAMA_HOST": self.server.url,
            "PYTHONPATH": str(REPOSITORY),
        }

    def deploy(
        self, *arguments: str | Path, env: Mapping[str, str] = {}, timeout_s: float = 280
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of deploy."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *map(str, arguments)],
            env=self.environment | dict(env),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def runbook(
        self, name: str, *arguments: str | Path, env: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """Run a runbook with the box's profile."""
        return self.deploy("runbook", "run", name, "--profile", self.profile, *arguments, env=env)

    def events(self) -> list[dict[str, Any]]:
        """Return the event log, a document a line."""
        path = self.home.state / "runbooks.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def rows(self) -> tuple[int, int]:
        """Return how many deployments and bench runs the ledger has."""
        ledger = Ledger(self.home.ledger)
        return len(ledger.deployments(99)), len(ledger.bench_runs(99))

    def loaded(self) -> dict[str, Any] | None:
        """Return what /api/ps says of the deployed model."""
        names = {MODEL, ALIAS}
        found = self.server.client().ps().model_dump(mode="json")["models"]
        return next((m for m in found if m["name"] in names), None)

    def digests(self) -> dict[str, str]:
        """Return the digest of each name in the store, as the server lists them."""
        return {str(m.model): str(m.digest) for m in self.server.client().list().models}


@contextmanager
def deployed(server: RealServer, model: TinyModel, folder: Path, written: Path) -> Iterator[Box]:
    """Deploy a tiny model on a server that runs; its store is removed in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    box = Box(server, folder, written)
    tiny.create(server, model)
    found = box.deploy("auto", TAG, "--profile", written, "--json")
    if found.returncode:
        raise RuntimeError(f"deploying {TAG} ended with {found.returncode}: {found.stderr}")
    yield box
    shutil.rmtree(server.models, ignore_errors=True)


def last_line(text: str) -> str:
    """Return the only line of a text. Raises ValueError: there are more, or none."""
    (line,) = text.splitlines()
    return line


def wait_for(what: str, ready: Any, limit_s: float) -> Any:
    """Return what `ready()` returns once it is true. Raises TimeoutError."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.5)
    raise TimeoutError(f"{what}: not within {limit_s} s")
