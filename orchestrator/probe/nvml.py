"""Print what NVML says as JSON. A program of its own: a fallen GPU can make NVML hang inside the
kernel, and only another process can be given up. It imports nothing of ours, so it starts fast.

The only user of pynvml. Usage: python nvml.py [LIBRARY]; LIBRARY is loaded first, so that pynvml
finds it by its SONAME where the loader's path does not lead there (WSL2).
"""

import ctypes
import json
import sys
from types import ModuleType
from typing import Any

# nvmlReturn_t values that mean something here.
NOT_FOUND, UNKNOWN = 6, 999


class Reader:
    """Calls of NVML that answer (value, code) instead of raising: a getter that fails costs one
    field, never the device.
    """

    def __init__(self, pynvml: ModuleType) -> None:
        self.nvml = pynvml
        # A driver without a versioned symbol raises a class outside of NVMLError's tree; an old
        # binding lacks names; a broken infoROM yields a name that is not UTF-8.
        mismatch = getattr(pynvml, "NVMLLibraryMismatchError", pynvml.NVMLError)
        self.failures = (pynvml.NVMLError, mismatch, AttributeError, UnicodeDecodeError)

    def ask(self, call: str, *arguments: object) -> tuple[Any, int]:
        """Return the call's value and 0, or None and NVML's error code."""
        try:
            return getattr(self.nvml, call)(*arguments), 0
        except self.failures as e:
            return None, int(getattr(e, "value", UNKNOWN))

    def text(self, call: str, *arguments: object) -> str | None:
        """Return a string: nvidia-ml-py before 12 answered bytes."""
        value, _ = self.ask(call, *arguments)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def device(self, handle: object, index: int) -> dict[str, Any]:
        """Return one device or MIG slice; None where NVML would not say."""
        # Version 1 of the call: its `free` is that of version 2, and every driver has it.
        memory, memory_code = self.ask("nvmlDeviceGetMemoryInfo", handle)
        capability, capability_code = self.ask("nvmlDeviceGetCudaComputeCapability", handle)
        width, _ = self.ask("nvmlDeviceGetMemoryBusWidth", handle)
        clock, _ = self.ask(
            "nvmlDeviceGetMaxClockInfo", handle, getattr(self.nvml, "NVML_CLOCK_MEM", 2)
        )
        return {
            "index": index,
            "name": self.text("nvmlDeviceGetName", handle),
            "uuid": self.text("nvmlDeviceGetUUID", handle),
            "total": memory and int(memory.total),
            "free": memory and int(memory.free),
            "capability": capability and ".".join(map(str, capability)),
            "bus_width": width,
            "clock_mhz": clock,
            "codes": {"memory": memory_code, "capability": capability_code},
        }

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
                found.append(self.device(part, slot))
        return found

    def gpu(self, index: int) -> dict[str, Any]:
        """Return the device at an index of NVML's; only codes where its handle is refused."""
        handle, code = self.ask("nvmlDeviceGetHandleByIndex", index)
        if code:
            return {"index": index, "codes": {"handle": code}}
        return self.device(handle, index) | {"slices": self.slices(handle)}


def read(library: str | None) -> dict[str, Any]:
    """Return the whole reading: {"gpus": ...}, or {"code": ...} where NVML does not start."""
    if library:
        ctypes.CDLL(library)
    import pynvml

    reader = Reader(pynvml)
    _, code = reader.ask("nvmlInit")
    if code:
        return {"code": code}
    try:
        count, code = reader.ask("nvmlDeviceGetCount")
        if code:
            return {"code": code}
        driver = reader.text("nvmlSystemGetDriverVersion")
        return {"driver": driver, "gpus": [reader.gpu(index) for index in range(count)]}
    finally:
        reader.ask("nvmlShutdown")


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1] if len(sys.argv) > 1 else None)))  # noqa: T201
