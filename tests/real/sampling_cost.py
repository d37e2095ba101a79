"""What it costs to watch a runner's memory: `python -m tests.real.sampling_cost [SCENARIO]`.

Prints the share of one core that the bench and its reading child take, in percent, on a box of
nvml.SCENARIOS or on one without a driver. The stub reads its scenario at every question, which is
slower than a driver.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from orchestrator.bench.sampler import RunnerMemory
from tests.real import nvml

_RUNNER = ["llama-server", "-c", "import time; time.sleep(600)", "--model", "/m/blobs/sha256-0a"]
_SERVER = f"import subprocess, sys; subprocess.run({_RUNNER!r}, executable=sys.executable)"


def share_of_a_core(scenario: str | None, seconds: float = 20.0) -> float:
    """Return the share, 0 to 1, while a runner is watched that does nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if scenario:
            os.environ |= nvml.driver(nvml.build(folder), scenario, folder)
            os.environ.pop("NVML_STUB_LOG")
        with subprocess.Popen([sys.executable, "-c", _SERVER]) as server:
            while not psutil.Process(server.pid).children():
                time.sleep(0.05)
            runner = psutil.Process(server.pid).children()[0]
            try:
                with RunnerMemory(server.pid, model_file="sha256-0a"):
                    return _spent(seconds, but=server.pid)
            finally:
                runner.kill()


def _spent(seconds: float, *, but: int) -> float:
    ours = psutil.Process()
    watched = [ours, *(child for child in ours.children() if child.pid != but)]
    before, started = _cpu_s(watched), time.perf_counter()
    time.sleep(seconds)
    return (_cpu_s(watched) - before) / (time.perf_counter() - started)


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


if __name__ == "__main__":
    print(f"{share_of_a_core(next(iter(sys.argv[1:]), None)):.2%}")  # noqa: T201
