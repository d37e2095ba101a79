"""Peak memory of the runner: the process that the Ollama server starts for a model.

The kernel keeps the high-water mark of a process (VmHWM), so host memory needs no polling, except
to have it when the runner has ended. Devices keep none and are polled.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.bench.devices import DevicePeak, Devices, Nvml, open_nvml

if TYPE_CHECKING:
    import psutil

_INTERVAL_S = 0.05
_LOOK_AGAIN_S = 1.0  # listing the children of a process reads all of /proc
_KIB = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPeak:
    """What the runner took at most, in bytes. None: not measured, and `resident_how` or
    `devices_how` says why. `pss_bytes` is its share of memory at the end, libraries split fairly.
    """

    resident_bytes: int | None
    resident_how: str
    pss_bytes: int | None
    devices: tuple[DevicePeak, ...]
    devices_how: str
    pids: tuple[int, ...]


class RunnerMemory:
    """Watches the runners of one server from entering the block until its end.

    Enter before the model is loaded: what a device had free then is the base line. `model_file`
    is the path of the weights or its last part, and leaves other models' runners out. `nvml`
    None: this box's own devices.

        with RunnerMemory(server_pid, model_file="sha256-…") as memory: load and measure
        memory.peak()
    """

    def __init__(
        self,
        server_pid: int | None,
        *,
        model_file: str | None = None,
        nvml: tuple[Nvml, ...] | None = None,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._server_pid = server_pid
        self._model_file = PurePath(model_file).name if model_file else None
        self._interval_s = interval_s
        found, why = (nvml, None) if nvml is not None else open_nvml()
        self._devices_how = why or "NVML"
        self._devices = Devices(found)
        self._runners: list[psutil.Process] = []
        self._others = 0
        self._problem = "the process of the server is not known" if server_pid is None else ""
        self._host: dict[int, tuple[int, str]] = {}
        self._pss: dict[int, int] = {}
        self._looked_at = float("-inf")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="bench-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._look(last=True)

    def peak(self) -> MemoryPeak:
        """Return the peak so far."""
        with self._lock:
            # One model has one runner. Two of one file mean a reload; their peaks never add up.
            pid = max(self._host, key=lambda p: self._host[p][0], default=None)
            resident, how = (None, self._reason()) if pid is None else self._host[pid]
            return MemoryPeak(
                resident_bytes=resident,
                resident_how=how,
                pss_bytes=self._pss.get(pid) if pid is not None else None,
                devices=self._devices.peaks(),
                devices_how=self._devices_how,
                pids=tuple(sorted(self._host)),
            )

    def _reason(self) -> str:
        if self._problem:
            return self._problem
        if self._others:
            return f"{self._others} runner(s) seen, but none of {self._model_file}"
        return f"the server (process {self._server_pid}) has no runner that can be seen from here"

    def _poll(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._look()

    def _look(self, *, last: bool = False) -> None:
        with self._lock:
            self._find_runners(now=time.monotonic(), at_once=last)
            self._devices.sample([r.pid for r in self._runners])
            for runner in self._runners:
                self._read(runner, last=last)

    def _find_runners(self, *, now: float, at_once: bool) -> None:
        import psutil

        if self._server_pid is None or not (at_once or now - self._looked_at >= _LOOK_AGAIN_S):
            return
        self._looked_at = now
        try:
            children = psutil.Process(self._server_pid).children(recursive=True)
        except psutil.NoSuchProcess:
            self._problem = f"there is no process {self._server_pid} here: is the server elsewhere?"
            self._runners = []
            return
        except psutil.AccessDenied:
            self._problem = f"no right to see the children of process {self._server_pid}"
            return
        runners = [c for c in children if self._is_runner(c)]
        self._runners = [r for r in runners if self._is_ours(r)]
        self._others = max(self._others, len(runners) - len(self._runners))

    def _is_runner(self, child: "psutil.Process") -> bool:
        command = self._command(child)
        # `ollama runner --model …` up to 0.24, `llama-server -m …` since.
        return "runner" in command[1:2] or "llama-server" in PurePath(next(iter(command), "")).name

    def _is_ours(self, runner: "psutil.Process") -> bool:
        wanted = self._model_file
        return wanted is None or any(PurePath(a).name == wanted for a in self._command(runner))

    def _command(self, child: "psutil.Process") -> list[str]:
        import psutil

        try:
            return child.cmdline()
        except psutil.NoSuchProcess:
            return []
        except psutil.AccessDenied:
            self._problem = f"no right to read the command line of process {child.pid}"
            return []

    def _read(self, runner: "psutil.Process", *, last: bool) -> None:
        found = _high_water(runner.pid) or self._sampled(runner)
        if found is not None:
            # A number is used again only by another process, whose peak must not be mixed in; but
            # a peak never falls, and after the end of a process the last one read is the peak.
            self._host[runner.pid] = max(self._host.get(runner.pid, (0, "")), found)
        if last and (pss := _pss(runner.pid)) is not None:
            self._pss[runner.pid] = pss

    def _sampled(self, runner: "psutil.Process") -> tuple[int, str] | None:
        """Return the resident size now, where the kernel keeps no peak (macOS)."""
        import psutil

        try:
            return int(runner.memory_info().rss), "resident size, sampled"
        except psutil.NoSuchProcess:
            return None
        except psutil.AccessDenied:
            self._problem = (
                f"no right to read the memory of process {runner.pid}: run deploy as its user"
            )
            return None


def _high_water(pid: int) -> tuple[int, str] | None:
    size = _field(Path(f"/proc/{pid}/status"), "VmHWM:")
    return None if size is None else (size, "VmHWM of the runner")


def _pss(pid: int) -> int | None:
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def _field(path: Path, name: str) -> int | None:
    """Return a line's kB as bytes; None: no such file, no right, or no such line (a zombie)."""
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith(name)), None)
    return None if found is None else int(found) * _KIB
