"""A server that deploy itself started, and a tiny model deployed on it."""

import shutil
from pathlib import Path
from typing import Any, Self, cast

import ollama

from orchestrator.runtime.binary import Binary
from tests.real import tiny
from tests.real.server import RealServer, free_port
from tests.real.tiny import TinyModel
from tests.runbook.box import TAG, Box

_SLOTS = "2"


class _At:
    """Where it answers: what a Box asks of its server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = ollama.Client(url, trust_env=False, timeout=60)

    def client(self) -> ollama.Client:
        return self._client

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]


class OwnServer:
    """`deploy runtime start` with a store and a setting that only its first environment has."""

    def __init__(self, binary: Binary, folder: Path, profile: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.folder, self.store = folder, ""
        self._server = _At(self.url)
        self.box = Box(cast("RealServer", self._server), folder, profile)
        runtime = binary.path.parent
        shutil.copytree(runtime, self.box.home.runtimes / runtime.name)

    def deploy(self, model: TinyModel) -> None:
        """Create the model on the server and deploy it. Raises RuntimeError."""
        tiny.create(self.box.server, model)
        self._must("auto", TAG, "--profile", self.box.profile)

    def __enter__(self) -> Self:
        person = self.folder / "who started it"
        person.mkdir()
        first = {"HOME": str(person), "OLLAMA_KEEP_ALIVE": "7m"}
        self._must("runtime", "start", "--parallel", _SLOTS, env=first)
        self.store = str(person / ".ollama" / "models")
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.close()
        self.box.deploy("runtime", "stop")

    def _must(self, *arguments: str | Path, **more: Any) -> None:
        found = self.box.deploy(*arguments, **more)
        if found.returncode:
            raise RuntimeError(f"{arguments} ended with {found.returncode}: {found.stderr}")
