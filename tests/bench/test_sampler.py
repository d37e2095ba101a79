"""Peak memory of real runners."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.bench.calibration import WORDS
from orchestrator.bench.sampler import RunnerMemory
from orchestrator.server import Server
from orchestrator.units import MIB
from tests.real import tiny
from tests.real.server import RealServer
from tests.real.tiny import TinyModel

OPTIONS = {"num_ctx": 2048}


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
        pass
    peak = memory.peak()

    assert peak.devices == () or peak.devices_how == "NVML"
    assert peak.devices_how
