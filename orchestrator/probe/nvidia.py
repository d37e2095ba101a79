"""NVIDIA GPUs: what NVML says, read by a child process that may be given up (see nvml.py)."""

import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.fault import Fault, joined
from orchestrator.machine import Absent, Accelerator
from orchestrator.probe.jetson import jetson
from orchestrator.probe.nvidia_bus import cards, other_driver, with_unlisted
from orchestrator.probe.nvidia_cards import accelerators
from orchestrator.probe.nvml_answer import Answer, parsed
from orchestrator.probe.nvml_errors import (
    DRIVER_NOT_LOADED,
    LIBRARY_NOT_FOUND,
    MISMATCH,
    hangs,
    mismatch,
    no_answer,
    no_library,
    no_start,
    wrong_binding,
)
from orchestrator.probe.sight import Sight

# WSL2's first: beside it, a driver that was installed in Linux by mistake never works. Then by the
# loader's path, then where NixOS and the nodes of Google's Kubernetes keep it.
LIBRARIES = (
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
)
_TIMEOUT_S = 10.0  # without persistence mode the first call takes 1-3 s a GPU
_PROGRAM = str(Path(__file__).with_name("nvml.py"))
_DRIVER_MARKS = ("/proc/driver/nvidia/version", "/dev/nvidia0")
_WSL_MARK = "/dev/dxg"


@dataclass(frozen=True, slots=True)
class NvidiaProbe:
    """Reads NVML in a child process with a limit in seconds, and the PCI bus beside it."""

    sight: Sight = field(default_factory=Sight)
    libraries: tuple[str, ...] = LIBRARIES
    timeout_s: float = _TIMEOUT_S
    name: str = "nvidia"

    def read(self) -> tuple[Accelerator, ...] | Absent:
        """Return the GPUs in NVML's order and those that it misses, or why there are none.

        NVML knows nothing of CUDA_VISIBLE_DEVICES: that of the server is applied by `judged`.
        """
        # -P: modules beside nvml.py, which are ours, are not what pynvml means to import.
        command = [sys.executable or "python3", "-P", _PROGRAM, *self.libraries]
        said = self.sight.tool("nvml", command, limit_s=self.timeout_s)
        answer = parsed(said.text) if said.fault is None else None
        if answer is None:
            return self._silent(said.fault or "the reading process printed no JSON")
        if answer.code == LIBRARY_NOT_FOUND and (board := jetson(self.sight)):
            return (board,)
        if answer.code or answer.gpus is None:
            return self._no_start(answer)
        found = with_unlisted(accelerators(answer, self.sight), self.sight)
        return found or self._absent(Fault("the driver is loaded and lists no GPU"))

    def _absent(self, fault: Fault, *, present: bool = False) -> Absent:
        return Absent(probe=self.name, reason=fault.text, present=present, remedy=fault.remedy)

    def _silent(self, fault: str) -> Absent:
        """Say what it means that the child gave no answer."""
        silence = no_answer(fault)
        if where := self._present():
            return self._absent(self._at(where, silence), present=True)
        if self.sight.live or hangs(fault):
            return self._absent(silence, present=hangs(fault))
        # A box that was captured without this answer shows by its bus that there was none to get.
        return self._absent(Fault("no NVIDIA GPU on the PCI bus"))

    def _no_start(self, answer: Answer) -> Absent:
        """Say why NVML does not start, and where there is a GPU nevertheless."""
        wsl, where = self.sight.exists(_WSL_MARK), self._present()
        bare = not (where or wsl)
        if answer.code == LIBRARY_NOT_FOUND and bare and not answer.fault:
            why = "no driver library (libnvidia-ml.so.1) and no NVIDIA GPU on the PCI bus"
            return self._absent(Fault(why))
        faults = [self._fault(answer, wsl=wsl)] if answer.code else []
        if answer.code == DRIVER_NOT_LOADED and bare:
            faults.insert(0, Fault("no NVIDIA GPU is on the PCI bus"))
        if answer.binding:
            faults.append(wrong_binding(answer.binding))
        told = joined(faults or [Fault("the reading process listed no GPUs and gave no reason")])
        # A driver that gets as far as any other error has met a GPU.
        met = answer.code not in (0, LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED)
        return self._absent(self._at(where, told), present=bool(where) or met)

    def _fault(self, answer: Answer, *, wsl: bool) -> Fault:
        if answer.code == LIBRARY_NOT_FOUND:
            return no_library(answer.fault, wsl=wsl)
        if answer.code == MISMATCH and not wsl:
            return mismatch(_module(self.sight), answer.library, answer.installed)
        return no_start(answer.code, wsl=wsl)

    def _present(self) -> Fault | None:
        """Return where there is a GPU whatever NVML says, and which other driver has it."""
        found = [(each.address, other_driver(each, self.sight)) for each in cards(self.sight)]
        if not found:
            marked = any(self.sight.exists(mark) for mark in _DRIVER_MARKS)
            return Fault("GPU present") if marked else None
        named = [
            replace(other, what=f"{address} ({other.what})") if other else Fault(address)
            for address, other in found
        ]
        each = joined(named, ", ")
        return replace(each, what=f"GPU present at {each.what}")

    def _at(self, where: Fault | None, told: Fault) -> Fault:
        """Return where the GPUs are and what is amiss; nothing helps if all are given away."""
        others = [other_driver(each, self.sight) for each in cards(self.sight)]
        if others and all(other and not other.remedy for other in others):
            told = replace(told, remedy=None)  # as to a virtual machine: no driver here gets them
        return joined((where, told), ", ") if where else told


def _module(sight: Sight) -> str | None:
    """Return the version of the kernel module that is loaded."""
    said = sight.text("/proc/driver/nvidia/version")
    found = re.search(r"Kernel Module\D*?(?:x86_64|aarch64)?\s+([0-9]+(?:\.[0-9]+)+)\s", said)
    return found[1] if found else None
