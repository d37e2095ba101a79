"""A real Ollama server of the tests' own: loopback, its own home and store, no accelerator."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import ollama

_START_S = 30.0
_STOP_S = 10.0


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bare_environment(home: Path) -> dict[str, str]:
    """Return an environment that holds nothing of the caller's but the search path."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C.UTF-8"}


def wait_until_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a 200. Raises RuntimeError: the server ended, or does not answer in 30 s."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if not _alive(server.pid):
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"no answer at {url}; its log ends with:\n{log.read_text()[-2000:]}")


class RealServer:
    """`ollama serve` in a folder. Its process group holds the server and its runners."""

    def __init__(
        self, binary: Path, library: Path | None, folder: Path, *, settings: Mapping[str, str] = {}
    ) -> None:
        self.binary, self.library = binary, library
        self.home, self.models, self.log = folder / "home", folder / "models", folder / "server.log"
        self.settings = dict(settings)
        self.port = free_port()
        self._started: list[subprocess.Popen[bytes]] = []
        self._client: ollama.Client | None = None

    @property
    def url(self) -> str:
        """The address, as OLLAMA_HOST takes it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process. Raises RuntimeError: it is not started."""
        if not self._started:
            raise RuntimeError("the server is not started")
        return self._started[-1].pid

    def client(self) -> ollama.Client:
        """Return the true client, deaf to proxies; it is closed when the server stops."""
        if self._client is None:
            self._client = ollama.Client(self.url, trust_env=False, timeout=300)
        return self._client

    def environment(self) -> dict[str, str]:
        """Return what the server runs with: no GPU, one slot, and partial downloads kept."""
        library = {"LD_LIBRARY_PATH": str(self.library)} if self.library else {}
        ours = {"OLLAMA_HOST": f"127.0.0.1:{self.port}", "OLLAMA_MODELS": str(self.models)}
        fixed = {"OLLAMA_NUM_GPU": "0", "OLLAMA_NOPRUNE": "1", "OLLAMA_NUM_PARALLEL": "1"}
        return bare_environment(self.home) | library | ours | fixed | self.settings

    def start(self) -> Self:
        """Start it on the same port and store as before, and wait until it answers."""
        if self._started and _alive(self.pid):
            raise RuntimeError("the server is started already")
        self.home.mkdir(parents=True, exist_ok=True)
        self.models.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            server = subprocess.Popen(
                [str(self.binary), "serve"],
                env=self.environment(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(server)
        wait_until_answers(f"{self.url}/api/version", server, self.log)
        return self

    def stop(self) -> None:
        """End it and its runners, those of earlier starts too; nothing happens if none runs."""
        client, self._client = self._client, None
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]
        while self._started:
            _end_group(self._started.pop())

    def kill(self, *, runners: bool = True) -> None:
        """End it without warning. Without `runners` they stay behind, as after a crash.

        `stop` ends those as well.
        """
        (os.killpg if runners else os.kill)(self.pid, signal.SIGKILL)
        _wait_until_ended(self.pid)
        if runners:
            self.stop()

    def log_text(self) -> str:
        """Return all that the server and its runners wrote."""
        return self.log.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    """End a server and all it started, and reap it last: until then its number is its own."""
    os.killpg(leader.pid, signal.SIGTERM)
    _wait_until_ended(leader.pid)
    os.killpg(leader.pid, signal.SIGKILL)
    leader.wait(_STOP_S)


def _wait_until_ended(pid: int) -> None:
    end = time.monotonic() + _STOP_S
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    """Say whether a child runs; an unreaped one that has ended does not."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
