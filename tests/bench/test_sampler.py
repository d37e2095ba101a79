"""Peak memory of real runners."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from orchestrator.bench.calibration import WORDS
from orchestrator.bench.descendants import descendants
from orchestrator.bench.device_state import DeviceState
from orchestrator.bench.devices import Look
from orchestrator.bench.sampler import RunnerMemory
from orchestrator.server import Server
from orchestrator.units import GIB, MIB
from tests.real import nvml, tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

OPTIONS = {"num_ctx": 2048}
_LISTED_S = 1.4  # processes are listed once a second


def _blob(model: TinyModel) -> str:
    return model.digest.replace(":", "-")


def test_the_peak_of_a_runner_outlives_it(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    model = tiny_models["deepseek-r1:7b"]
    ours, name = Server(server.url), tiny.create(server, model)
    prompt = "".join(f" {w}" for w in random.Random(1).choices(WORDS, k=300))
    with RunnerMemory(server.pid, model_file=_blob(model)) as memory:
        ours.load(name, options=OPTIONS)
        list(ours.stream(name, prompt, options={**OPTIONS, "num_predict": 4}))
        (runner,) = psutil.Process(server.pid).children()
        status = Path(f"/proc/{runner.pid}/status").read_text()
        kernel = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM"))
        time.sleep(0.2)
        ours.unload(name)
        runner.wait(10)
    peak = memory.peak()

    assert peak.resident_bytes is not None
    assert peak.resident_bytes == pytest.approx(kernel * 1024, rel=0.02)
    assert peak.resident_bytes > model.path.stat().st_size
    assert "VmHWM" in peak.resident_how
    assert peak.pids == (runner.pid,)
    assert peak.pss_bytes is None  # it had ended


def test_each_model_has_its_own_runner(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    small, large = tiny_models["qwen2.5:0.5b"], tiny_models["deepseek-r1:7b"]
    ours = Server(server.url)
    for model in (small, large):
        ours.load(tiny.create(server, model), options=OPTIONS)
    assert len(psutil.Process(server.pid).children()) == 2

    peaks = []
    for model in (small, large):
        with RunnerMemory(server.pid, model_file=f"/elsewhere/{_blob(model)}") as memory:
            pass
        peaks.append(memory.peak())

    assert peaks[0].pids != peaks[1].pids
    assert all(len(p.pids) == 1 and p.pss_bytes for p in peaks)
    assert (peaks[1].resident_bytes or 0) > (peaks[0].resident_bytes or 0) + 20 * MIB


def test_another_models_runner_is_not_taken(
    server: RealServer, tiny_models: dict[str, TinyModel]
) -> None:
    Server(server.url).load(tiny.create(server, tiny_models["qwen2.5:0.5b"]), options=OPTIONS)
    with RunnerMemory(server.pid, model_file="sha256-0000") as memory:
        pass

    assert memory.peak().resident_bytes is None
    assert "1 runner(s) seen, but none of sha256-0000" in memory.peak().resident_how


@pytest.mark.parametrize(
    ("pid", "why"),
    [
        pytest.param(None, "not known", id="remote"),
        pytest.param(2**22 + 1, "no process", id="gone-or-in-another-container"),
    ],
)
def test_a_server_that_cannot_be_seen_says_why(pid: int | None, why: str) -> None:
    with RunnerMemory(pid) as memory:
        pass

    assert memory.peak().resident_bytes is None
    assert why in memory.peak().resident_how


def test_children_that_are_no_runners_do_not_count() -> None:
    sleep = "import time; time.sleep(30)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleep!r}])"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as parent:
        try:
            with RunnerMemory(parent.pid) as memory:
                pass
        finally:
            os.killpg(parent.pid, signal.SIGKILL)

    assert memory.peak().resident_bytes is None
    assert "no runner" in memory.peak().resident_how


def test_a_box_without_nvml_has_no_devices_and_says_so() -> None:
    with RunnerMemory(None) as memory:
        states = memory.states()
    peak = memory.peak()

    assert not (peak.devices or states) or peak.devices_how == "NVML"
    assert peak.devices_how


@pytest.fixture
def llama_server() -> Iterator[psutil.Process]:
    """A server whose runner, at one remove, is `llama-server`, as since 0.30."""
    argv = ["llama-server", "-c", "import time; time.sleep(60)", "--model", "/m/blobs/sha256-0a"]
    runner = f"import subprocess, sys; subprocess.run({argv!r}, executable=sys.executable)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {runner!r}])"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as server:
        found = psutil.Process(server.pid)
        until = time.monotonic() + 10
        while not any(p.cmdline()[:1] == argv[:1] for p in found.children(recursive=True)):
            assert time.monotonic() < until
            time.sleep(0.05)
        yield found
        os.killpg(server.pid, signal.SIGKILL)


def test_the_newest_kind_of_runner_is_found_by_its_parents(llama_server: psutil.Process) -> None:
    *_, runner = llama_server.children(recursive=True)
    assert descendants(llama_server.pid) in (
        None, [p.pid for p in llama_server.children(recursive=True)]
    )  # fmt: skip
    with RunnerMemory(llama_server.pid, model_file="sha256-0a") as memory:
        time.sleep(1.2)

    assert memory.peak().pids == (runner.pid,)
    assert (memory.peak().resident_bytes or 0) > MIB


_TRIES = """
import subprocess, sys
argv = ["llama-server", "-c", "import time; time.sleep(60)", "--model", "/m/blobs/sha256-0a"]
runner = None
for line in sys.stdin:
    if runner:
        runner.kill()
        runner.wait()
    runner = subprocess.Popen(argv, executable=sys.executable)
    print(runner.pid, flush=True)
"""


class OneCard:
    """A driver that names no processes, and tells as much free as it is given."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.why: str | None = None

    def memory(self) -> Mapping[int, Look]:
        return {0: Look(free_bytes=self.free_bytes)}

    def states(self, runners: Collection[int]) -> tuple[DeviceState, ...]:
        del runners
        return ()

    def close(self) -> None:
        pass


def test_a_runner_that_did_not_fit_and_was_tried_again_leaves_no_trace_in_the_peak() -> None:
    card = OneCard(24 * GIB)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", _TRIES], stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as server:
        try:
            with RunnerMemory(server.pid, model_file="sha256-0a", nvml=card) as memory:
                first = _tried(server)
                card.free_bytes = 2 * GIB
                time.sleep(_LISTED_S)
                assert memory.peak().pids == (first,)
                second = _tried(server)
                card.free_bytes = 19 * GIB
                time.sleep(_LISTED_S)
                memory.loaded()
            peak = memory.peak()
        finally:
            os.killpg(server.pid, signal.SIGKILL)

    assert peak.pids == (second,)
    assert [device.bytes for device in peak.devices] == [5 * GIB]
    assert not peak.replaced


def _tried(server: "subprocess.Popen[str]") -> int:
    assert server.stdin
    assert server.stdout
    print("again", file=server.stdin, flush=True)
    return int(server.stdout.readline())


_CARD = {"name": "NVIDIA GeForce RTX 3060", "total_mib": 12288, "used_mib": 300}
_REFUSED = {
    f"nvmlDeviceGet{kind}RunningProcesses_{version}": 3
    for kind in ("Compute", "Graphics")
    for version in ("v2", "v3")
}


@pytest.mark.parametrize(
    ("refused", "how"), [({}, "NVML, per process"), (_REFUSED, "drop of the device's free memory")]
)
def test_the_video_memory_of_a_real_runner_is_followed_to_its_peak(
    server: RealServer,
    tiny_models: dict[str, TinyModel],
    stub: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: dict[str, int],
    how: str,
) -> None:
    """The driver's stub says that the runner holds as much as it has resident."""
    model, pid_file = tiny_models["deepseek-r1:7b"], tmp_path / "runner.pid"
    held = [{"pid_file": str(pid_file), "used_mib": "rss"}]
    card = _CARD | {"processes": held, "code": refused, "reasons": 0x40}
    nvml.describe({"gpus": [card]}, tmp_path / "box.nvml")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(stub))
    monkeypatch.setenv("NVML_STUB", str(tmp_path / "box.nvml"))
    ours, name = Server(server.url), tiny.create(server, model)

    with RunnerMemory(server.pid, model_file=_blob(model)) as memory, _named(server, pid_file):
        ours.load(name, options=OPTIONS)
        memory.loaded()
        list(ours.stream(name, "one two", options={**OPTIONS, "num_predict": 4}))
        states = memory.states()
    peak = memory.peak()

    assert peak.resident_bytes is not None
    (device,) = peak.devices
    assert how in device.how
    assert device.bytes == pytest.approx(peak.resident_bytes, rel=0.02)
    assert [state.throttle for state in states] == [("hw_thermal_slowdown",)]
    assert [state.foreign_processes for state in states] == [None if refused else 0]


@contextmanager
def _named(server: RealServer, pid_file: Path) -> Iterator[None]:
    """Let the stub know the runner as soon as there is one."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            if runners := psutil.Process(server.pid).children():
                pid_file.write_text(str(runners[0].pid))
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
