"""Peak memory of processes on NVIDIA devices, over NVML; polled, since NVML keeps no high-water."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.bench.device_state import DeviceState
from orchestrator.units import MIB

# Memory moves in steps when a model loads; anything smaller in the free memory is the driver's own.
_STILL_BYTES = 16 * MIB
_STILL_LOOKS = 4
_SETTLE_S, _LOOK_S = 3.0, 0.05
# In a container the runner is itself a newcomer, under a number that is not ours.
_OTHERS_ALLOWED = 1


_PER_PROCESS = "NVML, per process"


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicePeak:
    """The most that the runner held on one device, in bytes, and how that was found out.

    `bytes` None: it could not be; then `how` is the reason.
    """

    index: int
    bytes: int | None
    how: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One device since the last look: the least that was free, and the most that each process held.

    None: the driver does not say. Containers see the host's process numbers; WSL2 tells no bytes.
    """

    free_bytes: int | None
    used_by_pid: Mapping[int, int | None] = field(default_factory=dict)


class Nvml(Protocol):
    """What is read of the devices; `why` says why nothing is, None while something is."""

    why: str | None

    def memory(self) -> Mapping[int, Look]:
        """Return a look at each device by its index; {}: no answer."""
        ...

    def states(self, runners: Collection[int]) -> tuple[DeviceState, ...]:
        """Return what each device does now; `runners` are the processes that are no strangers."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


class Devices:
    """Watches devices from before the load on: `sample` often, `peaks` at the end."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        # A device without memory of its own (GB10, Jetson) shares the host's: nothing to watch.
        self._watched = {
            index: _Watched(index, look)
            for index, look in self._settled().items()
            if look.free_bytes is not None
        }

    @property
    def how(self) -> str:
        """Where the figures come from, or why there are none."""
        return self._nvml.why or ("NVML" if self._watched else "NVML names no memory of a device")

    def sample(self) -> None:
        """Look once."""
        if self._watched and self._nvml.why is None:
            for index, look in self._nvml.memory().items():
                if index in self._watched:
                    self._watched[index].sample(look)

    def begin_again(self) -> None:
        """Leave out what the devices held until now: the load failed, and was tried again."""
        for device in self._watched.values():
            device.begin_again()

    def peaks(self, runners: Collection[int]) -> tuple[DevicePeak, ...]:
        """Return the peak of each device; `runners` are the processes of the model."""
        found = tuple(d.peak(runners, self._nvml.why) for d in self._watched.values())
        if not any(peak.how == _PER_PROCESS for peak in found):
            return found
        # Where NVML names the runner on one device, it is on no other that does not name it.
        elsewhere = {p.index for p in found if p.bytes is not None and p.how != _PER_PROCESS}
        return tuple(
            DevicePeak(index=p.index, bytes=0, how=_PER_PROCESS) if p.index in elsewhere else p
            for p in found
        )

    def _settled(self) -> Mapping[int, Look]:
        """Return a look at devices whose free memory stands still: a model may just have gone.

        Its memory comes back a while after its process; a base line before that is too low.
        """
        looks = self._nvml.memory()
        still, until = 1, time.monotonic() + _SETTLE_S
        while looks and still < _STILL_LOOKS and time.monotonic() < until:
            time.sleep(_LOOK_S)
            before, looks = looks, self._nvml.memory()
            moved = any(_moved(before.get(index), look) for index, look in looks.items())
            still = 1 if moved else still + 1
        return looks


def _moved(before: Look | None, now: Look) -> bool:
    if before is None or before.free_bytes is None or now.free_bytes is None:
        return False
    return abs(now.free_bytes - before.free_bytes) > _STILL_BYTES


class _Watched:
    """One device: per process where NVML says so, else the drop of free memory since the start."""

    def __init__(self, index: int, look: Look) -> None:
        self._index = index
        self._at_start = self._now = look
        self._least_free = look.free_bytes
        self._most: dict[int, int | None] = {}  # of each process, strangers among them
        self._gone: set[int] = set()

    def sample(self, look: Look) -> None:
        self._now = look
        if look.free_bytes is not None and self._least_free is not None:
            self._least_free = min(self._least_free, look.free_bytes)
        self._gone |= self._at_start.used_by_pid.keys() - look.used_by_pid.keys()
        for pid, size in look.used_by_pid.items():
            before = self._most.get(pid)
            self._most[pid] = before if size is None else max(before or 0, size)

    def begin_again(self) -> None:
        self._least_free = self._now.free_bytes

    def peak(self, runners: Collection[int], why: str | None) -> DevicePeak:
        if why is not None:
            return self._unknown(why)
        # One model has one runner. Two of one file mean a reload; their peaks never add up.
        known = [size for pid in runners if (size := self._most.get(pid)) is not None]
        if known:
            return DevicePeak(index=self._index, bytes=max(known), how=_PER_PROCESS)
        if self._others(runners):
            return self._unknown(
                "NVML names no memory of the runner, and other processes came or went"
            )
        if self._at_start.free_bytes is None or self._least_free is None:
            return self._unknown("NVML names no memory of this device")
        drop = max(0, self._at_start.free_bytes - self._least_free)
        how = "NVML, drop of the device's free memory"
        return DevicePeak(index=self._index, bytes=drop, how=how)

    def _others(self, runners: Collection[int]) -> bool:
        """Say whether somebody else came or went, by what NVML lists."""
        came = self._most.keys() - self._at_start.used_by_pid.keys() - set(runners)
        allowed = 0 if self._most.keys() & set(runners) else _OTHERS_ALLOWED
        return bool(self._gone - set(runners)) or len(came) > allowed

    def _unknown(self, why: str) -> DevicePeak:
        return DevicePeak(index=self._index, bytes=None, how=why)
