"""`deploy pull` through a mirror, killed at random moments: the next run finishes and cleans up."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.store import Store
from tests.real.registry import Registry
from tests.real.relay import Relay
from tests.real.server import RealServer, bare_environment
from tests.real.tiny import TinyModel

TAG = "deepseek-r1:7b"
_REPOSITORY = Path(__file__).parents[2]
_RATE = 25 * 10**6  # 33 MB, and what comes before and after, take about three seconds
_LONGEST_S = 3.5


def _pull(server: RealServer, relay: Relay, home: Path, *before: str) -> "subprocess.Popen[str]":
    ours = {"OLLAMA_HOST": server.url, "DEPLOY_HOME": str(home), "PYTHONPATH": str(_REPOSITORY)}
    program = before or ("-m", "orchestrator")
    return subprocess.Popen(
        [sys.executable, *program, "pull", TAG, "--registry", relay.url],
        env=bare_environment(server.home) | ours,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _assert_clean(server: RealServer, home: Path, tiny_models: dict[str, TinyModel]) -> None:
    store = Store(server.models)
    assert list(store.names()) == [TAG]
    named = {f"sha256-{layer.digest[7:]}" for layer in store.names()[TAG].layers}
    assert {path.name for path in (server.models / "blobs").iterdir()} == named
    assert store.damage(store.names()[TAG].layers, lambda *_: None) == []
    assert tiny_models[TAG].digest in {layer.digest for layer in store.names()[TAG].layers}
    assert list((home / "state" / "pulls").glob("*.ours")) == []


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_a_pull_that_is_killed_is_finished_by_the_next(
    server: RealServer,
    registry: Registry,
    tmp_path: Path,
    tiny_models: dict[str, TinyModel],
    times: int,
) -> None:
    rng, home = random.Random(times), tmp_path / "deploy"
    with Relay(registry.port) as relay:
        for _ in range(times):
            relay.bytes_per_s = _RATE
            killed = _pull(server, relay, home)
            time.sleep(rng.uniform(0.2, _LONGEST_S))
            os.kill(killed.pid, signal.SIGKILL)
            killed.communicate()
            relay.bytes_per_s = None

            run = _pull(server, relay, home)
            said = run.communicate(timeout=60)[1]

            assert run.returncode == 0, said
            _assert_clean(server, home, tiny_models)
            server.client().delete(TAG)


@pytest.mark.parametrize("where", ["client.Server.copy", "client.Server.delete"])
def test_a_pull_that_is_killed_between_its_names_leaves_none_of_them(
    server: RealServer,
    registry: Registry,
    tmp_path: Path,
    tiny_models: dict[str, TinyModel],
    where: str,
) -> None:
    home, armed = tmp_path / "deploy", str(Path(__file__).parents[1] / "loop" / "killed_at.py")
    with Relay(registry.port) as relay:
        killed = _pull(server, relay, home, armed, f"orchestrator.server.{where}", "before", "1")
        killed.communicate(timeout=60)
        assert killed.returncode == -signal.SIGKILL
        assert [m.model for m in server.client().list().models] != []

        run = _pull(server, relay, home)
        said = run.communicate(timeout=60)[1]

    assert run.returncode == 0, said
    _assert_clean(server, home, tiny_models)


def test_a_long_name_that_somebody_uses_stays(
    server: RealServer, registry: Registry, tmp_path: Path
) -> None:
    with Relay(registry.port) as relay:
        long_name = f"127.0.0.1:{relay.port}/library/{TAG}"
        for _ in server.client().pull(long_name, insecure=True, stream=True):
            pass
        run = _pull(server, relay, tmp_path / "deploy")
        run.communicate(timeout=60)

    assert {m.model for m in server.client().list().models} == {TAG, long_name}
