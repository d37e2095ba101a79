"""Peak memory of processes on NVIDIA devices, over NVML; polled, since NVML keeps no high-water."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

# Memory moves in steps when a model loads; anything smaller in the free memory is the driver's own.
_OTHERS_ALLOWED = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicePeak:
    """The most that the runner held on one device, in bytes, and how that was found out.

    `bytes` None: it could not be; then `how` is the reason.
    """

    index: int
    bytes: int | None
    how: str


class Nvml(Protocol):
    """What is read of one device. None: the driver does not say."""

    @property
    def index(self) -> int:
        """The number NVML gives it."""
        ...

    def used_by_pid(self) -> dict[int, int | None]:
        """Return bytes per process. Containers see the host's process numbers; WSL2 no bytes."""
        ...

    def free_bytes(self) -> int | None:
        """Return the free memory of the device."""
        ...


class Devices:
    """Watches devices from before the load on: `sample` often, `peaks` at the end."""

    def __init__(self, devices: Collection[Nvml]) -> None:
        self._watched = [_Watched(d) for d in devices]

    def sample(self, pids: Collection[int]) -> None:
        """Look once; `pids` are the runner's."""
        for device in self._watched:
            device.sample(pids)

    def peaks(self) -> tuple[DevicePeak, ...]:
        """Return the peak of each device."""
        return tuple(d.peak() for d in self._watched)


class _Watched:
    """One device: per process where NVML says so, else the drop of free memory since the start."""

    def __init__(self, device: Nvml) -> None:
        self._device = device
        self._process_peak: int | None = None
        self._free_at_start = self._least_free = device.free_bytes()
        self._others_at_start = frozenset(device.used_by_pid())
        self._newcomers: set[int] = set()
        self._gone = False
        self._runner_seen = False

    def sample(self, pids: Collection[int]) -> None:
        free = self._device.free_bytes()
        used = self._device.used_by_pid()
        if free is not None and self._least_free is not None:
            self._least_free = min(self._least_free, free)
        self._newcomers |= used.keys() - self._others_at_start - set(pids)
        self._gone |= bool(self._others_at_start - used.keys())
        self._runner_seen |= bool(used.keys() & set(pids))
        known = [b for p in used if p in pids and (b := used[p]) is not None]
        if known:
            self._process_peak = max(self._process_peak or 0, sum(known))

    def peak(self) -> DevicePeak:
        index = self._device.index
        if self._process_peak is not None:
            return DevicePeak(index=index, bytes=self._process_peak, how="NVML, per process")
        # In a container the runner is itself a newcomer, under a number that is not ours.
        others = len(self._newcomers) - (0 if self._runner_seen else _OTHERS_ALLOWED)
        if self._gone or others > 0:
            why = "NVML names no memory of the runner, and other processes came or went"
            return DevicePeak(index=index, bytes=None, how=why)
        if self._free_at_start is None or self._least_free is None:
            return DevicePeak(index=index, bytes=None, how="NVML names no memory of this device")
        drop = max(0, self._free_at_start - self._least_free)
        return DevicePeak(index=index, bytes=drop, how="NVML, drop of the device's free memory")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Device:
    """A device of the real NVML."""

    nvml: Any
    handle: Any

    index: int

    def used_by_pid(self) -> dict[int, int | None]:
        found: dict[int, int | None] = {}
        for kind in ("Compute", "Graphics"):  # a process in both lists has one figure
            found.update({p.pid: p.usedGpuMemory for p in self._listed(kind)})
        return found

    def _listed(self, kind: str) -> list[Any]:
        # The unversioned name refuses drivers that do not know the newest layout (R510 and older).
        for version in ("_v3", "_v2"):
            try:
                read = getattr(self.nvml, f"nvmlDeviceGet{kind}RunningProcesses{version}")
                return list(read(self.handle))
            except (self.nvml.NVMLError, AttributeError):
                continue
        return []

    def free_bytes(self) -> int | None:
        try:
            return int(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).free)
        except self.nvml.NVMLError:
            return None


def open_nvml() -> tuple[tuple[Nvml, ...], str | None]:
    """Return the NVIDIA devices of this box, or none and the reason. NVML stays open."""
    try:
        import pynvml
    except ImportError:
        return (), "nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        found = tuple(
            _Device(nvml=pynvml, handle=pynvml.nvmlDeviceGetHandleByIndex(i), index=i)
            for i in range(count)
        )
        # A device without memory of its own (GB10, Jetson) shares the host's: nothing to watch.
        readable = tuple(d for d in found if d.free_bytes() is not None)
    except (pynvml.NVMLError, OSError) as e:
        return (), f"NVML: {e}"
    return readable, None if readable else "NVML names no device with memory of its own"
