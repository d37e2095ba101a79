"""Foreign processor time, with real processes that burn it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.bench.noise import CpuReading, ForeignCpu, Span, between

_BURN = "while True: pass"
# Starts a child that burns, as a server starts its runner.
_PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_BURN!r}])"
_WINDOW_S = 1.0


@pytest.fixture
def burner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", _PARENT], start_new_session=True) as process:
        time.sleep(0.5)
        yield process
        os.killpg(process.pid, signal.SIGKILL)


def _reading(**changes: float | None) -> CpuReading:
    base = CpuReading(at_s=0.0, total_s=100.0, busy_s=50.0, steal_s=1.0, own_s=2.0, server_s=30.0)
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "foreign", "steal"),
    [
        pytest.param({"busy_s": 58.0, "server_s": 36.0, "own_s": 3.0}, 0.1, 0.0, id="the-rest"),
        pytest.param({"busy_s": 58.0, "server_s": 38.0}, 0.0, 0.0, id="all-ours"),
        pytest.param({"busy_s": 58.0, "server_s": 39.0}, 0.0, 0.0, id="never-below-zero"),
        pytest.param({"steal_s": 3.0}, 0.0, 0.2, id="steal"),
        pytest.param({"busy_s": 58.0, "server_s": None}, None, 0.0, id="server-unknown"),
        pytest.param({"at_s": 0.2, "busy_s": 58.0}, None, None, id="too-short-to-tell"),
    ],
)
def test_shares(after: dict[str, float | None], foreign: float | None, steal: float | None) -> None:
    noise = between(_reading(), _reading(**{"at_s": 5.0, "total_s": 110.0, **after}))

    assert noise.foreign_cpu == (None if foreign is None else pytest.approx(foreign))
    assert noise.steal == (None if steal is None else pytest.approx(steal))


def test_what_the_servers_children_use_is_not_foreign(burner: subprocess.Popen[bytes]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:
        with_server, without = ForeignCpu(burner.pid), ForeignCpu(idle.pid)
        before = with_server.read(), without.read()
        time.sleep(_WINDOW_S)
        after = with_server.read(), without.read()
        idle.kill()

    as_server = after[0].server_s or 0
    assert as_server - (before[0].server_s or 0) > 0.3 * _WINDOW_S
    # The same window, once with the burner as the server: its time and no more is the difference.
    known, unknown = between(before[0], after[0]), between(before[1], after[1])
    assert known.foreign_cpu is not None
    assert unknown.foreign_cpu is not None
    share = (as_server - (before[0].server_s or 0)) / (after[0].total_s - before[0].total_s)
    assert unknown.foreign_cpu - known.foreign_cpu > share / 2


def test_time_of_a_runner_that_ended_is_still_the_servers() -> None:
    script = (
        "import subprocess, sys, time\n"
        "burn = 'import time; e = time.time() + 0.6\\nwhile time.time() < e: pass'\n"
        "sys.stdin.readline(); subprocess.run([sys.executable, '-c', burn])\n"
        "print('ended', flush=True); sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        noise = ForeignCpu(server.pid)
        before = noise.read()
        server.stdin.write(b"\n")
        server.stdin.flush()
        assert server.stdout.readline() == b"ended\n"
        after = noise.read()
        server.stdin.write(b"\n")
        server.stdin.close()
    assert (after.server_s or 0) - (before.server_s or 0) > 0.2


def test_a_server_that_is_not_here_is_unknown_not_idle() -> None:
    assert ForeignCpu(None).read().server_s is None
    assert ForeignCpu(2**22 + 1).read().server_s is None


class Counted(ForeignCpu):
    """Two processors of which somebody else keeps one busy; each reading is `step_s` later."""

    def __init__(self, step_s: float) -> None:
        super().__init__(None)
        self._step_s, self._at_s = step_s, 0.0

    def read(self) -> CpuReading:
        self._at_s += self._step_s
        at_s = self._at_s
        return _reading(
            at_s=at_s, total_s=2 * at_s, busy_s=at_s, steal_s=0.0, own_s=0.0, server_s=0.0
        )


def test_a_request_too_short_to_tell_is_told_with_those_before_it() -> None:
    span = Span(Counted(0.05))
    told = []
    for _ in range(4):
        span.begin()
        told.append(span.end().foreign_cpu)

    assert told[:2] == [None, None]
    assert told[2:] == [pytest.approx(0.5)] * 2


def test_a_request_that_is_long_enough_is_told_alone() -> None:
    source = Counted(1.0)
    span = Span(source)
    span.begin()
    source._at_s += 100  # noqa: SLF001 - a quiet pause that is not its own
    assert span.end().foreign_cpu == pytest.approx(0.5)
