"""Tell what NVML says of the devices, as often as asked. A program of its own: a fallen GPU can
make NVML hang inside the kernel, and only another process can be given up.

Usage: python nvml_reader.py LIBRARY [LIBRARY ...]; the first that loads is read. It looks at the
memory every 40 ms, answers each line, "memory" or "state", with a line of JSON, and ends with its
input. Its first line says why it cannot, or null. It imports nothing of ours, so it starts fast.
"""

import ctypes
import json
import os
import select
import sys
from types import ModuleType
from typing import Any

_SM, _MEMORY = 1, 2  # kinds of clocks
_TEMPERATURE_OF_GPU = 0
_MIG_ON = 1
_EVERY_MS = 40  # memory moves in steps when a model loads, and some are given back at once
_CHUNK_BYTES = 4096


class Reader:
    """The devices: GPUs by NVML's index, and behind them the MIG slices, as the probe counts them.

    A call that fails costs one field, never the device.
    """

    def __init__(self, pynvml: ModuleType) -> None:
        self.nvml = pynvml
        self.parts: dict[int, tuple[Any, Any]] = {}  # the device, and the GPU that it is a slice of
        self.now: dict[int, dict[str, Any]] = {}
        self.most: dict[int, dict[str, Any]] = {}
        self.seen_until: dict[int, int] = {}
        gpus = list(range(self.ask("nvmlDeviceGetCount") or 0))
        slices = []
        for index in gpus:
            gpu = self.ask("nvmlDeviceGetHandleByIndex", index)
            if gpu is None:
                continue
            mode = self.ask("nvmlDeviceGetMigMode", gpu)
            if mode and mode[0] == _MIG_ON:  # its memory is that of the slices
                slices += [(part, gpu) for part in self.slices(gpu)]
            else:
                self.parts[index] = gpu, gpu
        self.parts.update(enumerate(slices, len(gpus)))

    def ask(self, call: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the call gives
        """Return the call's value, None if it fails."""
        try:
            return getattr(self.nvml, call)(*arguments)
        except Exception:  # noqa: BLE001 - bindings raise outside of NVMLError's tree too
            return None

    def slices(self, gpu: object) -> list[Any]:
        """Return the MIG slices of a GPU; slots may be empty between used ones."""
        slots = self.ask("nvmlDeviceGetMaxMigDeviceCount", gpu) or 0
        found = [
            self.ask("nvmlDeviceGetMigDeviceHandleByIndex", gpu, slot) for slot in range(slots)
        ]
        return [part for part in found if part is not None]

    def look(self) -> None:
        """Note what is free on each device, and what each process holds (None: not told)."""
        for index, (part, _) in self.parts.items():
            free = getattr(self.ask("nvmlDeviceGetMemoryInfo", part), "free", None)
            before = self.now.get(index)
            # While not a byte moves, nobody came or went or took more: the lists cost five times
            # as much as this question.
            if before is not None and free is not None and free == before["free"]:
                continue
            self.now[index] = {"free": free, "used": self.used(part)}
            self.most[index] = _most(self.most.get(index), self.now[index])

    def memory(self) -> dict[int, dict[str, Any]]:
        """Return by index the least that was free and the most that each process held, since the
        last time.
        """
        self.look()
        found, self.most = self.most, dict(self.now)
        return found

    def used(self, part: object) -> dict[int, int | None]:
        """Return bytes by process."""
        # One that computes and draws stands in both lists with the same figure; one that uses
        # several slices of a card stands in one list several times.
        held: dict[tuple[int, object], int | None] = {}
        for kind in ("Compute", "Graphics"):
            for each in self.running(kind, part):
                owner = (each.pid, getattr(each, "gpuInstanceId", None))
                held[owner] = held.get(owner) if each.usedGpuMemory is None else each.usedGpuMemory
        found: dict[int, int | None] = {}
        for (pid, _), size in held.items():
            before = found.get(pid)
            found[pid] = size if before is None else before + (size or 0)
        return found

    def running(self, kind: str, part: object) -> list[Any]:
        """Return one list of processes. The unversioned call refuses drivers before 510."""
        for version in ("_v3", "_v2"):
            found = self.ask(f"nvmlDeviceGet{kind}RunningProcesses{version}", part)
            if found is not None:
                return list(found)
        return []

    def state(self) -> dict[int, dict[str, Any]]:
        """Return by index how fast a device runs, and which processes use it."""
        return {
            index: {
                "sm_clock_mhz": self.ask("nvmlDeviceGetClockInfo", gpu, _SM),
                "memory_clock_mhz": self.ask("nvmlDeviceGetClockInfo", gpu, _MEMORY),
                "temperature_c": self.ask("nvmlDeviceGetTemperature", gpu, _TEMPERATURE_OF_GPU),
                "power_limit_mw": self.ask("nvmlDeviceGetEnforcedPowerLimit", gpu),
                "reasons": self.reasons(gpu),
                "processes": sorted(self.used(part)),
                "busy": self.busy(index, part),
            }
            for index, (part, gpu) in self.parts.items()
        }

    def reasons(self, gpu: object) -> int | None:
        """Return why its clocks are down; the call was renamed with R535."""
        for name in ("Event", "Throttle"):
            found = self.ask(f"nvmlDeviceGetCurrentClocks{name}Reasons", gpu)
            if found is not None:
                return int(found)
        return None

    def busy(self, index: int, part: object) -> dict[int, float] | None:
        """Return the share of time that processes used since the last look; slices have none."""
        found = self.ask("nvmlDeviceGetProcessUtilization", part, self.seen_until.get(index, 0))
        if not found:
            return None
        self.seen_until[index] = max(each.timeStamp for each in found)
        shares: dict[int, list[int]] = {}
        for each in found:
            shares.setdefault(each.pid, []).append(each.smUtil)
        return {pid: sum(all_) / len(all_) / 100 for pid, all_ in shares.items()}


def opened(libraries: list[str]) -> tuple[Reader | None, str | None]:
    """Return a reader of the devices, or the reason why there is none."""
    fault = _loaded(libraries)
    if fault is not None:
        return None, fault
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as e:  # noqa: BLE001 - whatever a broken module raises when it is loaded
        return None, f"NVML: {e}"
    reader = Reader(pynvml)
    return reader, None if reader.parts else "NVML names no device that can be read"


def _loaded(libraries: list[str]) -> str | None:
    """Load the first library that can be; return why none could."""
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return None
    return "there is no NVIDIA driver (libnvidia-ml.so.1)"


def _tell(what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201


def _most(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Return the least free of both, and the most of each process."""
    if before is None:
        return now
    frees = [each["free"] for each in (before, now) if each["free"] is not None]
    used = dict(before["used"])
    for pid, size in now["used"].items():
        used[pid] = size if used.get(pid) is None else max(used[pid], size or 0)
    return {"free": min(frees, default=None), "used": used}


def main(libraries: list[str]) -> None:
    """Say whether there are devices, then look and answer until the input ends."""
    reader, why = opened(libraries)
    _tell({"why": why})
    if why is not None or reader is None:
        return
    answers = {b"memory": reader.memory, b"state": reader.state}
    wait, unread = select.poll(), b""
    wait.register(sys.stdin.fileno(), select.POLLIN)
    while True:
        if not wait.poll(_EVERY_MS):
            reader.look()
            continue
        more = os.read(sys.stdin.fileno(), _CHUNK_BYTES)
        if not more:
            return
        *lines, unread = (unread + more).split(b"\n")
        for line in lines:
            _tell(answers[line]())


if __name__ == "__main__":
    main(sys.argv[1:])
