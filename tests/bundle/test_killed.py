"""kill -9 at any moment of a create and of a load: run again, it ends well, and nothing is left."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.bundle.archive import opened
from orchestrator.bundle.create import create
from orchestrator.bundle.load import load
from orchestrator.cli.terminal import Plain
from tests.bundle.conftest import NAME, OTHER, Box, box, put

_REPOSITORY = Path(__file__).parents[2]
_MOST_S = 0.6  # what is written takes about as long, once it has begun
SEEDS = [
    pytest.param(seed, marks=() if seed < 3 else pytest.mark.soak, id=str(seed))
    for seed in range(20)
]


@pytest.fixture
def large(tmp_path: Path) -> Box:
    made = box(tmp_path / "large")
    rng = random.Random(1)
    put(made.models, NAME, rng.randbytes(120_000_000))
    put(made.models, OTHER, rng.randbytes(40_000_000))
    return made


def killed(seed: int, there: Box, begun: str, *arguments: str | Path) -> None:
    """Run deploy, and kill it at a moment after a file like `begun` appeared in the box."""
    running = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *map(str, arguments)],
        env={**there.env, "PYTHONPATH": str(_REPOSITORY)},
        cwd=there.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(there.folder.glob(begun)) and running.poll() is None:
        time.sleep(0.0005)
    time.sleep(random.Random(seed).uniform(0, _MOST_S))
    running.send_signal(signal.SIGKILL)
    running.wait()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_create_leaves_no_half_bundle_and_succeeds_again(seed: int, large: Box) -> None:
    file = large.folder / "b.tar"
    killed(seed, large, "b.tar*", "bundle", "create", NAME, OTHER, "-o", file)

    if file.exists():
        with opened(file) as archive:
            assert [b"".join(archive.chunks(m)) for m in archive.index.members]
    create((NAME, OTHER), file, large.home, large.environ, Plain(), force=True)

    with opened(file) as archive:
        assert sum(len(c) for m in archive.index.members for c in archive.chunks(m))
    assert [path.name for path in large.folder.glob("b.tar*")] == ["b.tar"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_load_never_shows_a_half_model_and_succeeds_again(
    seed: int, large: Box, target: Box
) -> None:
    file = large.folder / "b.tar"
    create((NAME, OTHER), file, large.home, large.environ, Plain())
    killed(seed, target, "models/deploy-staged-*", "bundle", "load", file)

    if target.models.exists():
        layers = [layer for m in target.store.names().values() for layer in m.layers]
        assert target.store.damage(layers, lambda *_: None) == []
    load(file, target.home, target.environ, Plain())

    # The lock of the loop stays where it was made, as after any command.
    left = [name for name in target.files if not name.startswith("deploy.lock")]
    assert left == large.files
    assert target.store.names() == large.store.names()
