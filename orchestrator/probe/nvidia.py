"""NVIDIA GPUs: what NVML says, read by a child process that may be given up (see nvml.py)."""

import contextlib
import ctypes
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.machine import Absent, Accelerator
from orchestrator.probe.pci import NVIDIA, devices_of

# The first by the loader's path, the second where WSL2 keeps it.
LIBRARIES = ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1")
_TIMEOUT_S = 10.0  # without persistence mode the first call takes 1-3 s a GPU
_NOT_SUPPORTED = 3
_REBOOT = "reboot, or reset the GPU; `dmesg | grep -i xid` says what happened"
_LOST = {
    15: f"the GPU is lost (it fell off the bus): {_REBOOT}",
    16: f"the GPU needs a reset: {_REBOOT}",
}
_INIT = {
    4: "no permission to open /dev/nvidia*: check their mode, or the container's device rules",
    9: "the driver's library is here, but its kernel module is not loaded: `modprobe nvidia`"
    " (nouveau or secure boot may prevent it), or start the container with --gpus all",
    12: "no driver library (libnvidia-ml.so.1): install the driver, or start the container with"
    " --gpus all",
    13: "the driver is too old to be read: install 531 or newer",
    17: "the operating system refused access to /dev/nvidia*: check the container's device rules",
    18: "the driver was upgraded and the loaded kernel module is still the old one: reboot",
    999: "the driver answers with an unknown error (after suspend, a fallen GPU, or, in a"
    f" container, `systemctl daemon-reload`): restart the container, or {_REBOOT}",
}
# GPUs that share the host's memory; they are the only ones with these compute capabilities.
_UNIFIED_NAME = re.compile(r"\b(GB10|Orin|Thor|Xavier|Tegra)\b", re.IGNORECASE)
_UNIFIED_CAPABILITY = frozenset({"12.1", "8.7", "11.0", "7.2"})


@dataclass(frozen=True, slots=True)
class NvidiaProbe:
    """Reads NVML in a child process with a limit in seconds."""

    libraries: tuple[str, ...] = LIBRARIES
    timeout_s: float = _TIMEOUT_S
    root: Path = Path("/")
    name: str = "nvidia"

    def read(self) -> tuple[Accelerator, ...] | Absent:
        """Return the GPUs in NVML's order, or why there are none. Never raises."""
        library = _loadable(self.libraries)
        if library is None:
            return self._absent(self._no_library())
        reading = _ask_child(library, self.timeout_s)
        if "why" in reading:
            return self._absent(str(reading["why"]))
        if code := reading.get("code"):
            return self._absent(_INIT.get(code, f"NVML does not start (error {code})"))
        return _accelerators(reading) or self._absent("the driver is loaded and lists no GPU")

    def _absent(self, reason: str) -> Absent:
        return Absent(probe=self.name, reason=reason)

    def _no_library(self) -> str:
        found = devices_of(NVIDIA, self.root)
        marks = ("proc/driver/nvidia/version", "dev/nvidia0")
        if found or any((self.root / mark).exists() for mark in marks):
            where = f" at {', '.join(found)}" if found else ""
            return f"GPU present{where}, {_INIT[12]}"
        return "no driver library (libnvidia-ml.so.1) and no NVIDIA GPU on the PCI bus"


def _loadable(libraries: tuple[str, ...]) -> str | None:
    for library in libraries:
        with contextlib.suppress(OSError):
            ctypes.CDLL(library)
            return library
    return None


def _ask_child(library: str, timeout_s: float) -> dict[str, Any]:
    """Return the child's reading, or {"why": ...} where it gave none."""
    program = str(Path(__file__).with_name("nvml.py"))
    # -P: a pynvml.py in the working folder is not what we want to run.
    command = [sys.executable, "-P", program, library]
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    except OSError as e:
        return {"why": f"no second Python could be started to read NVML ({e})"}
    try:
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _give_up(child)
        limit = f"the driver did not answer within {timeout_s:g} s (a fallen GPU hangs it)"
        return {"why": f"{limit}: {_REBOOT}"}
    try:
        reading: dict[str, Any] = json.loads(out)
    except ValueError:
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it printed nothing"]
        return {"why": f"reading NVML failed (exit {child.returncode}): {last[0]}"}
    return reading


def _give_up(child: "subprocess.Popen[bytes]") -> None:
    # A process inside an uninterruptible call does not die before the call returns: do not wait
    # for it, or the probe would hang as well.
    child.kill()
    for pipe in filter(None, (child.stdout, child.stderr)):
        pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=1)


def _accelerators(reading: dict[str, Any]) -> tuple[Accelerator, ...]:
    found: list[Accelerator] = []
    slices: list[Accelerator] = []
    for gpu in reading["gpus"]:
        parts = gpu.get("slices")
        reason = _broken(gpu)
        if reason is None and parts is not None:
            reason = "it is split by MIG: a process is given a slice of it"
        found.append(_accelerator(gpu, reading["driver"], gpu["index"], reason))
        # Slices are numbered after all GPUs, whose indexes stay NVML's.
        for part in parts or ():
            part["capability"] = part["capability"] or gpu["capability"]
            index = len(reading["gpus"]) + len(slices)
            slices.append(_accelerator(part, reading["driver"], index, _broken(part)))
    return tuple(found + slices)


def _accelerator(
    gpu: dict[str, Any], driver: str | None, index: int, reason: str | None
) -> Accelerator:
    return Accelerator(
        vendor="nvidia",
        name=gpu.get("name") or f"NVIDIA GPU {index}",
        index=index,
        uuid=gpu.get("uuid"),
        memory_total_bytes=gpu.get("total"),
        memory_free_bytes=gpu.get("free"),
        compute_capability=gpu.get("capability"),
        driver=driver,
        unified_memory=_unified(gpu),
        bandwidth_bytes_per_s=_bandwidth(gpu),
        usable=reason is None,
        unusable_reason=reason,
    )


def _broken(gpu: dict[str, Any]) -> str | None:
    codes = set(gpu["codes"].values())
    if lost := codes & _LOST.keys():
        return _LOST[min(lost)]
    if code := gpu["codes"].get("handle"):
        return _INIT.get(code, f"NVML refuses access to it (error {code})")
    if (code := gpu["codes"]["memory"]) not in (0, _NOT_SUPPORTED):
        return f"the driver would not tell how much memory it has (NVML error {code})"
    return None


def _unified(gpu: dict[str, Any]) -> bool:
    """Say whether the GPU has no memory of its own: by what it is, if NVML did not fail."""
    if gpu["codes"].get("memory") not in (0, _NOT_SUPPORTED):
        return False
    known = _UNIFIED_NAME.search(gpu.get("name") or "")
    return bool(known) or gpu.get("capability") in _UNIFIED_CAPABILITY


def _bandwidth(gpu: dict[str, Any]) -> int | None:
    # NVML names the command clock; data moves on both edges.
    width, clock = gpu.get("bus_width"), gpu.get("clock_mhz")
    return width * clock * 10**6 * 2 // 8 if width and clock else None
