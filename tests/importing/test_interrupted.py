"""Imports that are killed, interrupted, or lose their server, and what a second one makes of it."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import ServerUnreachable
from orchestrator.importing import residue
from orchestrator.server import Server
from orchestrator.store import Store
from tests.importing.imported import NAME, Heard, destination, imported, left_over, started
from tests.real.safetensors import write_repository
from tests.real.server import RealServer

_TEMPORARY = re.compile(r"blobs/(Q4_K_M|sha256-)\d+|ollama-safetensors\d+/.*")
_MOMENTS = ("upload", "converting", "the server writes", "quantize", "asking")
_LATEST_S = 0.25
_LONG_AGO_S = 2 * 3600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that is made in some tenths of a second each: there is time to strike."""
    return write_repository(tmp_path / "repository", layers=3, width=768, inner=2048)


class Struck(Heard):
    """Does something once, when an import first says a word."""

    def __init__(self, word: str, strike: Callable[[], object]) -> None:
        super().__init__()
        self._word, self._strike = word, strike
        self.struck = False

    def advance(self, label: str, done: int, total: int | None) -> None:
        super().advance(label, done, total)
        self._hear(label)

    def waiting(self, text: str) -> object:  # type: ignore[override]
        self._hear(text)
        return super().waiting(text)

    def _hear(self, text: str) -> None:
        if self._word in text and not self.struck:
            self.struck = True
            self._strike()


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(n, marks=pytest.mark.soak) for n in range(3, 20))]
)
def test_a_killed_import_is_finished_by_the_next_and_all_is_clean(
    server: RealServer, folder: Path, tmp_path: Path, seed: int
) -> None:
    drawn = random.Random(seed)
    word = _MOMENTS[seed % len(_MOMENTS)]
    with started(server, folder, tmp_path) as ours:
        _kill_at(ours, word, drawn.uniform(0, _LATEST_S))
    imported(server, folder)
    # What a stuck create holds open goes with its server, and then by its age.
    assert [x for x in left_over(server, NAME) if not _TEMPORARY.fullmatch(x)] == []
    server.stop()
    server.start()
    residue.sweep(destination(server))
    assert left_over(server, NAME) == []
    assert Server(server.url).weights(NAME)


def test_what_a_killed_import_converted_is_not_converted_again(
    server: RealServer, folder: Path, tmp_path: Path
) -> None:
    with started(server, folder, tmp_path) as ours:
        _kill_at(ours, "quantize", 0)
    heard = Heard()
    assert imported(server, folder, progress=heard).uploaded_bytes == 0
    assert not any("converting" in text for text in heard.waits)
    assert heard.waits[-1] == f"asking {NAME} for a few tokens"


def test_what_a_killed_import_left_is_swept_without_a_second_one(
    server: RealServer, folder: Path, tmp_path: Path
) -> None:
    with started(server, folder, tmp_path) as ours:
        _kill_at(ours, "quantize", 0)
    assert any(name.startswith("deploy/import:") for name in left_over(server))
    server.stop()
    server.start()
    swept = residue.sweep(destination(server))
    assert swept.freed_bytes > 0
    # Uploads may be files of a pull that is to be resumed: they go when nobody has come for them.
    assert all(name.startswith("blobs/sha256-") for name in left_over(server))
    Store(server.models).sweep(now_s=time.time() + 3700, server_pid=server.pid)
    assert left_over(server) == []


@pytest.mark.parametrize("word", ["converting", "quantize"])
def test_an_interrupt_lets_the_server_finish_and_takes_all_away(
    server: RealServer, folder: Path, tmp_path: Path, word: str
) -> None:
    with started(server, folder, tmp_path) as ours:
        heard = _await(ours, word)
        ours.send_signal(signal.SIGINT)
        heard += ours.communicate(timeout=60)[0]
    assert ours.returncode == 130
    assert "finishing the server's work on hub/tiny:q" in heard
    assert left_over(server) == []


def test_a_second_interrupt_leaves_the_server_alone(
    server: RealServer, folder: Path, tmp_path: Path
) -> None:
    with started(server, folder, tmp_path) as ours:
        heard = _await(ours, "converting")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            ours.send_signal(signal.SIGINT)
            heard += _await(ours, "finishing")
            ours.send_signal(signal.SIGTERM)
            heard += _await(ours, "left the server's work")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        ours.communicate(timeout=60)
    assert ours.returncode == 130
    assert "its temporary files stay until the server restarts" in heard


@pytest.mark.parametrize("word", ["upload", "converting", "quantize"])
def test_the_death_of_the_server_is_said_and_the_next_import_is_clean(
    server: RealServer, folder: Path, word: str
) -> None:
    with pytest.raises(ServerUnreachable) as failure:
        imported(server, folder, progress=Struck(word, server.kill))
    if word != "upload":
        assert "the server ended while it made hub/tiny:q" in failure.value.what
        assert "deploy runtime status" in failure.value.hint
    server.start()
    imported(server, folder)
    assert [x for x in left_over(server, NAME) if not _TEMPORARY.fullmatch(x)] == []
    residue.sweep(destination(server))
    assert left_over(server, NAME) == []


@pytest.mark.soak
def test_a_server_that_hangs_in_a_create_is_given_up(
    server: RealServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.server.imports._LOOK_S", 0.2)
    struck = Struck("converting", lambda: os.kill(server.pid, signal.SIGSTOP))
    try:
        with pytest.raises(ServerUnreachable, match="no answer to /api/version"):
            imported(server, folder, progress=struck)
    finally:
        os.kill(server.pid, signal.SIGCONT)


def _kill_at(ours: subprocess.Popen[str], word: str, after_s: float) -> None:
    _await(ours, word)
    try:
        ours.wait(after_s)
    except subprocess.TimeoutExpired:
        ours.kill()
    ours.communicate(timeout=60)


def _await(ours: subprocess.Popen[str], word: str) -> str:
    """Read what an import says up to a word. Raises AssertionError: it ended before."""
    heard = ""
    assert ours.stdout
    while line := ours.stdout.readline():
        heard += line
        if word in line:
            return heard
    raise AssertionError(f"{word!r} was never said:\n{heard}")
