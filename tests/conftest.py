"""What tests share: a clean environment, and the real parts, made once and kept in a cache."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import filelock
import pytest

from orchestrator.home import Home
from orchestrator.runtime import embedded
from orchestrator.runtime.binary import Binary
from tests.real import nvml, tiny
from tests.real.registry import Registry
from tests.real.server import RealServer, bare_environment
from tests.real.tiny import TinyCatalog, TinyModel

_REPOSITORY = Path(__file__).parents[1]
_CACHE = Path(os.environ.get("DEPLOY_TEST_CACHE") or _REPOSITORY / ".cache" / "tests").absolute()
_FOREIGN = ("OLLAMA_", "HF_", "HUGGING_FACE_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "DEPLOY_")
_PATIENCE_S = 3600
_KEPT_S = 24 * 3600
_PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY"}


class RunDeploy(Protocol):
    """Runs the real command line; `env` is added to an otherwise bare environment."""

    def __call__(
        self, *arguments: str | Path, env: Mapping[str, str] = ..., timeout: float = ...
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away every setting of the caller that a server, a hub or deploy would follow."""
    for name in tuple(os.environ):
        if name.startswith(_FOREIGN) or name.upper() in _PROXIES:
            monkeypatch.delenv(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what loads models or fetches what they need: `make test` runs the rest in parallel."""
    for item in items:
        if isinstance(item, pytest.Function) and "shared" in item.fixturenames:
            item.add_marker(pytest.mark.alone)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Function) -> Iterator[None]:
    """Let tests that load models run one at a time on a box: side by side they are all slow.

    The lock is taken outside the timeout of the test: to wait for another run is no failure.
    """
    if "shared" not in item.fixturenames:
        return (yield)
    _CACHE.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(_CACHE / "models.lock", timeout=_PATIENCE_S):
        return (yield)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder that outlives a run; DEPLOY_TEST_CACHE moves it. Who asks for it runs alone."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    return _CACHE


@pytest.fixture(scope="session")
def runtime_binary(shared: Path) -> Binary:
    """A real Ollama 0.9.3 for the CPU."""
    folder = shared / "runtime"
    home = Home(folder / "data", folder / "state", folder / "cache")
    return embedded.install(home, report=logging.getLogger(__name__).info)


@pytest.fixture(scope="session")
def tiny_models(shared: Path) -> dict[str, TinyModel]:
    """The stand-ins by tag, smallest first."""
    return tiny.build(_only(shared / "standins"))


@pytest.fixture(scope="session")
def tiny_catalog(
    tiny_models: dict[str, TinyModel], tmp_path_factory: pytest.TempPathFactory
) -> TinyCatalog:
    """A catalogue of the tiny models, and a profile that names it."""
    return tiny.catalog(tiny_models, tmp_path_factory.mktemp("catalog"))


@pytest.fixture(scope="session")
def registry(
    shared: Path,
    tiny_models: dict[str, TinyModel],
    runtime_binary: Binary,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Registry]:
    """A real registry that has every tiny model. Who stops it starts it again."""
    folder = _only(shared / "registry")
    marker = folder / "published.json"
    with Registry(tmp_path_factory.mktemp("registry"), folder / "storage") as registry:
        if not _published(registry, marker, tiny_models):
            with _server(runtime_binary, tmp_path_factory.mktemp("publisher")) as server:
                tiny.publish(registry, server, tiny_models)
            digests = {tag: model.digest for tag, model in tiny_models.items()}
            marker.write_text(json.dumps(digests))
        yield registry


@pytest.fixture
def server(runtime_binary: Binary, tmp_path: Path) -> Iterator[RealServer]:
    """A real server with an empty store, which is removed: pytest keeps the rest for a while."""
    with _server(runtime_binary, tmp_path / "server") as server:
        yield server
    shutil.rmtree(server.models, ignore_errors=True)


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a library that stands in for NVIDIA's driver."""
    return nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Deploy's own folders, the same that `run_deploy` uses."""
    return Home.of({"DEPLOY_HOME": str(tmp_path / "deploy")})


@pytest.fixture
def run_deploy(tmp_path: Path) -> RunDeploy:
    """`run_deploy("plan", "--json", env={"OLLAMA_HOST": server.url})`: both streams as text."""

    def run(
        *arguments: str | Path, env: Mapping[str, str] = {}, timeout: float = 100
    ) -> subprocess.CompletedProcess[str]:
        person = tmp_path / "person"
        person.mkdir(exist_ok=True)
        ours = {"DEPLOY_HOME": str(tmp_path / "deploy"), "PYTHONPATH": str(_REPOSITORY)}
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *map(str, arguments)],
            env=bare_environment(person) | ours | dict(env),
            cwd=person,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def _server(binary: Binary, folder: Path) -> RealServer:
    return RealServer(binary.path, binary.library_path, folder)


def _only(parent: Path) -> Path:
    """Return the subfolder for this state of the code; those of others go when a day old."""
    wanted = parent / tiny.source_key()
    wanted.mkdir(parents=True, exist_ok=True)
    os.utime(wanted)
    for folder in parent.iterdir():
        if folder.stat().st_mtime < time.time() - _KEPT_S:
            shutil.rmtree(folder)
    return wanted


def _published(registry: Registry, marker: Path, models: dict[str, TinyModel]) -> bool:
    wanted = {tag: model.digest for tag, model in models.items()}
    if not marker.exists() or json.loads(marker.read_text()) != wanted:
        return False
    return all(registry.holds(digest) for digest in wanted.values())
