"""A hub on loopback that the true client asks, and a pull from it in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants

from orchestrator.era import ServerVersion
from orchestrator.home import Home
from orchestrator.pull.hub import Hub as Source
from orchestrator.server import Server
from orchestrator.store import Store
from orchestrator.transfer import Patience
from tests.real.hub import Hub
from tests.real.server import RealServer, bare_environment

_REPOSITORY = Path(__file__).parents[2]
NEWEST = ServerVersion((0, 33, 0))
QUICK = Patience(connect_s=1, read_s=1, tries=3, longest_wait_s=0.2)
_PULL = """
import sys
from pathlib import Path
from orchestrator.era import ServerVersion
from orchestrator.home import Home
from tests.pull.hubs import Silent, source
source(sys.argv[1], Path(sys.argv[2]), Home.of({"DEPLOY_HOME": sys.argv[3]})).pull(
    sys.argv[4], Silent()
)
"""


class Silent:
    """A progress that keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.most: dict[str, int] = {}

    def say(self, text: str) -> None:
        self.said.append(text)

    def tick(self, text: str) -> None:
        self.said.append(text)

    def advance(self, label: str, done: int, total: int | None) -> None:
        assert total is None or done <= total, f"{label}: {done} of {total}"
        self.most[label] = max(self.most.get(label, 0), done)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        self.said.append(text)
        yield


@contextmanager
def asked(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub whose repositories are the folders below `hub.root`; the client asks no other."""
    patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "hf" / "token"))
    patch.setattr(constants, "HF_HUB_CACHE", str(folder / "hf" / "hub"))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Hub(folder / "repositories") as hub:
        patch.setattr(constants, "ENDPOINT", hub.url)
        yield hub


def source(url: str, store: Path | None, home: Home, quantization: str | None = "Q8_0") -> Source:
    """Return the source under test, which does not wait long for anything."""
    return Source(
        Server(url),
        home,
        None if store is None else str(store),
        quantization=quantization,
        patience=QUICK,
    )


def pulling(hub: Hub, server: RealServer, folder: Path, tag: str) -> "subprocess.Popen[str]":
    """Start a pull in another process, which can be killed."""
    theirs = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(_REPOSITORY)}
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            _PULL,
            server.url,
            server.models,
            folder / "deploy",
            tag,
        ],
        env=bare_environment(folder) | theirs,
        cwd=_REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def unnamed(store: Path) -> set[str]:
    """Return the files in blobs/ that no manifest names."""
    found = Store(store).names().values()
    named = {layer.digest.replace(":", "-") for each in found for layer in each.layers}
    blobs = store / "blobs"
    return {path.name for path in blobs.glob("*")} - named
