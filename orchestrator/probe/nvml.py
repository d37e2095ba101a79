"""Print what NVML says as JSON. A program of its own: a fallen GPU can make NVML hang inside the
kernel, and only another process can be given up. It imports nothing of ours, so it starts fast.

Usage: python nvml.py LIBRARY [LIBRARY ...]; the first that loads is read. pynvml then finds it by
its SONAME, also where the loader's path does not lead there (WSL2).
"""

import ctypes
import json
import os
import re
import sys
from types import ModuleType
from typing import Any

# nvmlReturn_t values that mean something here.
LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, MISMATCH, UNKNOWN = 12, 13, 18, 999
_CLOCK_MEM = 2
# What is asked of a device or MIG slice: a field, and the call with its arguments.
_GETTERS: dict[str, tuple[Any, ...]] = {
    "name": ("nvmlDeviceGetName",),
    "uuid": ("nvmlDeviceGetUUID",),
    # Version 1 of the call: its `free` is that of version 2, and every driver has it.
    "memory": ("nvmlDeviceGetMemoryInfo",),
    "capability": ("nvmlDeviceGetCudaComputeCapability",),
    "bus_width": ("nvmlDeviceGetMemoryBusWidth",),
    "clock_mhz": ("nvmlDeviceGetMaxClockInfo", _CLOCK_MEM),
    "pci": ("nvmlDeviceGetPciInfo",),
    # The most that the link can do: an idle link falls back to generation 1.
    "pcie_generation": ("nvmlDeviceGetMaxPcieLinkGeneration",),
    "pcie_width": ("nvmlDeviceGetMaxPcieLinkWidth",),
    "ecc": ("nvmlDeviceGetEccMode",),
    "virtualization": ("nvmlDeviceGetVirtualizationMode",),
}


class Reader:
    """Calls of NVML that answer (value, code) instead of raising: a getter that fails costs one
    field, never the device.
    """

    def __init__(self, pynvml: ModuleType) -> None:
        self.nvml = pynvml
        self.names: dict[int, str | None] = {}

    def ask(self, call: str, *arguments: object) -> tuple[Any, int]:
        """Return the call's value and 0, or None and NVML's error code."""
        try:
            return getattr(self.nvml, call)(*arguments), 0
        except Exception as e:  # noqa: BLE001 - bindings raise outside of NVMLError's tree too
            return None, _code(e)

    def device(self, handle: object) -> dict[str, Any]:
        """Return one device or MIG slice; None where NVML would not say, and `codes` why."""
        told = {field: self.ask(call, handle, *more) for field, (call, *more) in _GETTERS.items()}
        value = {field: found for field, (found, _) in told.items()}
        memory, pci, capability = value["memory"], value["pci"], value["capability"]
        return {
            **{field: value[field] for field in ("bus_width", "clock_mhz", "virtualization")},
            **{field: value[field] for field in ("pcie_generation", "pcie_width")},
            "name": _text(value["name"]),
            "uuid": _text(value["uuid"]),
            "total": getattr(memory, "total", None),
            "free": getattr(memory, "free", None),
            "reserved": self.reserved(handle),
            "capability": ".".join(map(str, capability)) if capability else None,
            "pci": _text(getattr(pci, "busId", None)),
            "ecc": value["ecc"] and bool(value["ecc"][0]),
            "processes": self.processes(handle),
            "codes": {field: code for field, (_, code) in told.items() if code},
        }

    def reserved(self, handle: object) -> int | None:
        """Return the driver's own part of the memory; drivers before 510 and WSL2 do not say."""
        # An old binding has no second version: it gives the first one, which has no such part.
        version = getattr(self.nvml, "nvmlMemory_v2", None)
        memory, _ = self.ask("nvmlDeviceGetMemoryInfo", handle, version)
        return getattr(memory, "reserved", None)

    def processes(self, handle: object) -> list[dict[str, Any]]:
        """Return the processes that hold memory of a device, in the order of their numbers."""
        # One that computes and draws stands in both lists with the same figure; one that uses
        # several MIG slices of a card stands in one list several times.
        held: dict[tuple[int, object], int | None] = {}
        for kind in ("Compute", "Graphics"):
            for each in self.running(kind, handle):
                part = (each.pid, getattr(each, "gpuInstanceId", None))
                held[part] = held.get(part) if each.usedGpuMemory is None else each.usedGpuMemory
        found = []
        for pid in sorted({pid for pid, _ in held}):
            known = [b for (owner, _), b in held.items() if owner == pid and b is not None]
            used = sum(known) if known else None
            found.append({"pid": pid, "name": self.process_name(pid), "bytes": used})
        return found

    def running(self, kind: str, handle: object) -> list[Any]:
        """Return one list of processes. The unversioned call refuses drivers before 510."""
        for version in ("_v3", "_v2"):
            found, code = self.ask(f"nvmlDeviceGet{kind}RunningProcesses{version}", handle)
            if not code:
                return list(found)
        return []

    def process_name(self, pid: int) -> str | None:
        """Return the program of a process as NVML knows it; it is asked once a process.

        NVML may tell the whole command line, which is nobody else's business.
        """
        if pid not in self.names:
            line = _text(self.ask("nvmlSystemGetProcessName", pid)[0])
            self.names[pid] = line.split(" ", 1)[0] if line else None
        return self.names[pid]

    def slices(self, handle: object) -> list[dict[str, Any]] | None:
        """Return the MIG slices of a device, None where MIG is off or unknown to it."""
        mode, _ = self.ask("nvmlDeviceGetMigMode", handle)
        if not mode or mode[0] != 1:
            return None
        found = []
        for slot in range(self.ask("nvmlDeviceGetMaxMigDeviceCount", handle)[0] or 0):
            # Slots may be empty between used ones.
            part, code = self.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, slot)
            if not code:
                found.append(self.device(part))
        return found

    def gpu(self, index: int) -> dict[str, Any]:
        """Return the device at an index of NVML's; only codes where its handle is refused."""
        handle, code = self.ask("nvmlDeviceGetHandleByIndex", index)
        if code:
            return {"codes": {"handle": code}}
        return self.device(handle) | {"slices": self.slices(handle)}

    def box(self) -> dict[str, Any]:
        """Return all devices by their index: {"gpus": ...}, or {"code": ...} without NVML."""
        _, code = self.ask("nvmlInit")
        if code:
            return {"code": code}
        try:
            count, code = self.ask("nvmlDeviceGetCount")
            if code:
                return {"code": code}
            driver = _text(self.ask("nvmlSystemGetDriverVersion")[0])
            return {"driver": driver, "gpus": [self.gpu(index) for index in range(count)]}
        finally:
            self.ask("nvmlShutdown")


def read(libraries: list[str]) -> dict[str, Any]:
    """Return the whole reading. `fault`: why a library or pynvml cannot be used at all."""
    fault = _loaded(libraries)
    if fault is not None:
        return {"code": LIBRARY_NOT_FOUND, "fault": fault}
    try:
        import pynvml
    except Exception as e:  # noqa: BLE001 - whatever a broken module raises when it is loaded
        return {"binding": f"cannot be imported ({type(e).__name__}: {e})"}
    where = getattr(pynvml, "__file__", None) or "a folder"
    if not hasattr(pynvml, "nvmlInit"):
        return {"binding": f"({where}) is not that of nvidia-ml-py"}
    found = Reader(pynvml).box()
    if not hasattr(pynvml, "nvmlMemory_v2"):
        found["binding"] = f"({where}) is older than nvidia-ml-py 12"
    return found | (_versions() if found.get("code") == MISMATCH else {})


def _loaded(libraries: list[str]) -> str | None:
    """Load the first library that can be; return why none could, "" where none is there."""
    fault = ""
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError as e:
            fault = fault if "No such file" in str(e) else str(e)
        else:
            return None
    return fault


def _versions() -> dict[str, Any]:
    """Return the file that was loaded as the library, and the versions that lie beside it."""
    try:
        with open("/proc/self/maps", "rb") as maps:  # noqa: PTH123 - without pathlib, to start fast
            mapped = re.search(rb"/\S*libnvidia-ml\.so\S*", maps.read())
        library = os.fsdecode(mapped[0]) if mapped else ""
        beside = os.listdir(os.path.dirname(library) or "/")  # noqa: PTH120, PTH208
    except OSError:
        return {}
    versions = [name.removeprefix("libnvidia-ml.so.") for name in sorted(beside)]
    return {"library": library, "installed": [v for v in versions if re.fullmatch(r"[\d.]{3,}", v)]}


def _text(value: object) -> str | None:
    """Return a string: bindings before 12 answered bytes."""
    found = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return found if isinstance(found, str) else None


def _code(error: Exception) -> int:
    """Return NVML's code of an error; the binding or the driver may also lack the call."""
    if isinstance(error, AttributeError) or type(error).__name__ == "NVMLLibraryMismatchError":
        return FUNCTION_NOT_FOUND
    code = getattr(error, "value", UNKNOWN)
    return code if isinstance(code, int) else UNKNOWN


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1:]), default=repr))  # noqa: T201
