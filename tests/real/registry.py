"""A real registry: Debian's docker-registry on loopback, with the header that Ollama needs."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .server import RealServer, bare_environment, free_port, wait_until_answers

_STOP_S = 10.0
_REQUEST = re.compile(
    r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d{3}) (?P<n>\d+)'
)
_POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the access log."""

    method: str
    path: str
    status: int
    sent_bytes: int


class Registry:
    """The registry's process and its storage; it can be stopped and started for outages."""

    def __init__(self, folder: Path, storage: Path | None = None) -> None:
        self.folder, self.log = folder, folder / "registry.log"
        self.storage = storage or folder / "storage"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """The registry as it stands in model names: host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The registry as a flag or a profile names it."""
        return f"http://{self.host}"

    def start(self) -> Self:
        """Start it on the same port and storage as before, and wait until it answers."""
        if self._process is not None:
            raise RuntimeError("the registry is started already")
        binary = docker_registry()
        self.storage.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "registry.json"
        configuration.write_text(json.dumps(self._configuration()))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(binary), "serve", str(configuration)],
                env=bare_environment(self.folder) | {"OTEL_TRACES_EXPORTER": "none"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until_answers(f"{self.url}/v2/", self._process, self.log)
        return self

    def stop(self) -> None:
        """End it; connections break at once. Nothing happens if it is not running."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait(_STOP_S)

    def push(self, server: RealServer, name: str, as_tag: str) -> str:
        """Publish a model of `server` as library/`as_tag` and return the name that pulls it."""
        client, full = server.client(), f"{self.host}/library/{as_tag}"
        client.copy(name, full)
        try:
            last = [step.status for step in client.push(full, insecure=True, stream=True)][-1]
        finally:
            client.delete(full)
        if last != "success":
            raise RuntimeError(f"the push of {full} ended with {last!r}")
        return full

    def holds(self, digest: str) -> bool:
        """Say whether the storage has this blob, with the right bytes in it."""
        kind, value = digest.split(":")
        blobs = self.storage / "docker" / "registry" / "v2" / "blobs"
        path = blobs / kind / value[:2] / value / "data"
        if not path.exists():
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, kind).hexdigest() == value

    def requests(self) -> tuple[Request, ...]:
        """Return what was asked since the log began, oldest first."""
        found = _REQUEST.finditer(self.log.read_text(errors="replace"))
        rows = (m.group("method", "path", "status", "n") for m in found)
        return tuple(Request(m, p, int(status), int(n)) for m, p, status, n in rows)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _configuration(self) -> dict[str, object]:
        """JSON is YAML too. Ollama takes a blob only from an answer with a Location."""
        return {
            "version": 0.1,
            "log": {"accesslog": {"disabled": False}, "level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}},
            "http": {"addr": self.host, "headers": {"Location": ["#"]}},
        }


def docker_registry() -> Path:
    """Return the program; it is installed if it is missing. Raises RuntimeError: we may not."""
    if found := shutil.which("docker-registry"):
        return Path(found)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError("these tests need the Debian package docker-registry: install it")
    with _no_services():
        if not _apt("install", "-y", "--no-install-recommends", "docker-registry"):
            _apt("update")
            _apt("install", "-y", "--no-install-recommends", "docker-registry")
    found = shutil.which("docker-registry")
    if not found:
        raise RuntimeError("apt-get could not install docker-registry: install it by hand")
    return Path(found)


def _apt(*arguments: str) -> bool:
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-q", *arguments]
    return subprocess.run(command, env=environ, timeout=300, check=False).returncode == 0


@contextmanager
def _no_services() -> Iterator[None]:
    """Forbid packages to start their services: this one would listen on every address."""
    before = _POLICY.read_bytes() if _POLICY.exists() else None
    with tempfile.NamedTemporaryFile(dir=_POLICY.parent, delete=False) as new:
        new.write(b"#!/bin/sh\nexit 101\n")
    Path(new.name).chmod(0o755)
    Path(new.name).replace(_POLICY)
    try:
        yield
    finally:
        if before is None:
            _POLICY.unlink()
        else:
            _POLICY.write_bytes(before)
