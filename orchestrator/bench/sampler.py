"""Peak memory of the runner: the process that the Ollama server starts for a model.

The kernel keeps the high-water mark of a process (VmHWM), so host memory needs no polling, except
to have it when the runner has ended. Devices keep none and are polled.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.bench.descendants import descendants
from orchestrator.bench.device_state import DeviceState, merged
from orchestrator.bench.devices import DevicePeak, Devices, Nvml
from orchestrator.bench.nvml import NvmlChild
from orchestrator.runtime.runner import is_runner, model_path

if TYPE_CHECKING:
    import psutil

# Only a runner that is killed takes its peak with it; devices are looked at more often, by the
# child, which keeps their peaks.
_INTERVAL_S = 0.25
_LOOK_AGAIN_S = 1.0
_STATE_S = 0.5  # clocks and heat move slowly, and a state is many questions to the driver
_KIB = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPeak:
    """What the runner took at most, in bytes. None: not measured, and `resident_how` or
    `devices_how` says why. `pss_bytes` is its share of memory at the end, libraries split fairly.

    `strangers` are the model files (last part of the path) of other models' runners that came
    during the watch, even if they are gone again; `replaced` says that another runner of the
    watched model came after it was loaded: somebody made the server load it anew.
    """

    resident_bytes: int | None
    resident_how: str
    pss_bytes: int | None
    devices: tuple[DevicePeak, ...]
    devices_how: str
    pids: tuple[int, ...]
    strangers: tuple[str, ...] = ()
    replaced: bool = False


class RunnerMemory:
    """Watches the runners of one server from entering the block until its end.

    Enter before the model is loaded: what a device had free then is the base line. `model_file`
    is the path of the weights or its last part, and leaves other models' runners out. `nvml`
    None: this box's own devices.

        with RunnerMemory(server_pid, model_file="sha256-…") as memory:
            load; memory.loaded(); measure, with memory.states() after each sample
        memory.peak()
    """

    def __init__(
        self,
        server_pid: int | None,
        *,
        model_file: str | None = None,
        nvml: Nvml | None = None,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._server_pid = server_pid
        self._model_file = PurePath(model_file).name if model_file else None
        self._interval_s = interval_s
        self._nvml = nvml
        self._devices: Devices | None = None
        self._readings: dict[int, list[DeviceState]] = {}
        self._runners: list[psutil.Process] = []
        self._seen: set[int] = set()
        self._others: dict[psutil.Process, str] = {}
        self._at_start: frozenset[psutil.Process] = frozenset()
        self._loaded: frozenset[psutil.Process] | None = None
        self._former: frozenset[int] = frozenset()
        self._replaced = False
        self._problem = "the process of the server is not known" if server_pid is None else ""
        self._host: dict[int, tuple[int, str]] = {}
        self._pss: dict[int, int] = {}
        self._looked_at = self._state_at = float("-inf")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="bench-memory", daemon=True)

    def __enter__(self) -> Self:
        self._nvml = self._nvml or NvmlChild()
        self._devices = Devices(self._nvml)
        self._look(at_once=True)
        self._at_start = frozenset(self._others)
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
        self._look(at_once=True, last=True)
        if self._nvml is not None:
            self._nvml.close()

    def loaded(self) -> None:
        """Say that the model is loaded now: from here on its runner stays, unless it is replaced.

        A server may start several runners in one load, until the model fits; those before the
        present one count neither as replaced nor for the peak.
        """
        self._look(at_once=True)
        with self._lock:
            self._loaded = frozenset(self._runners)
            self._former = frozenset(self._seen) - {r.pid for r in self._runners}
            if self._former and self._devices is not None:
                self._devices.begin_again()

    def states(self) -> tuple[DeviceState, ...]:
        """Return what each device did since the last call, or since entering; () without NVML."""
        with self._lock:
            self._read_states()
            found = tuple(merged(readings) for readings in self._readings.values())
            self._readings = {}
            return found

    def peak(self) -> MemoryPeak:
        """Return the peak so far."""
        with self._lock:
            # One model has one runner. Two of one file mean a reload; their peaks never add up.
            own = self._seen - self._former
            came = self._others.keys() - self._at_start
            pid = max(own & self._host.keys(), key=lambda p: self._host[p][0], default=None)
            resident, how = (None, self._reason()) if pid is None else self._host[pid]
            return MemoryPeak(
                resident_bytes=resident,
                resident_how=how,
                pss_bytes=self._pss.get(pid) if pid is not None else None,
                devices=self._devices.peaks(own) if self._devices else (),
                devices_how=self._devices.how if self._devices else "nothing was watched",
                pids=tuple(sorted(own)),
                strangers=tuple(sorted({self._others[c] for c in came})),
                replaced=self._replaced,
            )

    def _reason(self) -> str:
        if self._problem:
            return self._problem
        if self._others:
            return f"{len(self._others)} runner(s) seen, but none of {self._model_file}"
        return f"the server (process {self._server_pid}) has no runner that can be seen from here"

    def _poll(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._look()

    def _look(self, *, at_once: bool = False, last: bool = False) -> None:
        with self._lock:
            now = time.monotonic()
            self._find_runners(now=now, at_once=at_once)
            if self._devices is not None:
                self._devices.sample()
            if now - self._state_at >= _STATE_S:
                self._read_states()
            for runner in self._runners:
                self._read(runner, last=last)

    def _read_states(self) -> None:
        self._state_at = time.monotonic()
        if self._nvml is not None:
            for state in self._nvml.states(self._seen):
                self._readings.setdefault(state.index, []).append(state)

    def _find_runners(self, *, now: float, at_once: bool) -> None:
        if self._server_pid is None or not (at_once or now - self._looked_at >= _LOOK_AGAIN_S):
            return
        self._looked_at = now
        children = self._children(self._server_pid, thorough=at_once)
        files = {child: self._model_file_of(child) for child in children}
        self._runners = [c for c, file in files.items() if file and self._is_ours(file)]
        self._seen |= {r.pid for r in self._runners}
        self._others |= {c: file for c, file in files.items() if file and not self._is_ours(file)}
        if self._loaded is not None:
            self._replaced |= not self._loaded.issuperset(self._runners)

    def _children(self, server_pid: int, *, thorough: bool) -> "list[psutil.Process]":
        import psutil

        try:
            server = psutil.Process(server_pid)
            if thorough or (pids := descendants(server_pid)) is None:
                return server.children(recursive=True)
        except psutil.NoSuchProcess:
            self._problem = f"there is no process {server_pid} here: is the server elsewhere?"
            return []
        except psutil.AccessDenied:
            self._problem = f"no right to see the children of process {server_pid}"
            return []
        found = []
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def _is_ours(self, file: str) -> bool:
        return self._model_file is None or file == self._model_file

    def _model_file_of(self, child: "psutil.Process") -> str | None:
        """Return the last part of a runner's model file; None: no runner, or it only lists GPUs."""
        arguments = self._command(child)
        path = model_path(arguments) if is_runner(arguments) else None
        return PurePath(path).name if path else None

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
