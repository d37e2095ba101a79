"""NVIDIA GPUs as a plan needs them, out of NVML's answer: GPUs in NVML's order, then MIG slices."""

import re
from dataclasses import replace

from orchestrator.errors import one_line
from orchestrator.fault import Fault
from orchestrator.machine import Accelerator, DeviceProcess
from orchestrator.probe.jetson import jetson_name
from orchestrator.probe.nvml_answer import Answer, Gpu
from orchestrator.probe.nvml_errors import NOT_SUPPORTED, unusable_device
from orchestrator.probe.sight import Sight

_VGPU = 2
_LONGEST_NAME = 15  # the kernel keeps no more of a program's name
# The kernel's first PID namespace: only there are NVML's process numbers those of our /proc.
_FIRST_NAMESPACE = "pid:[4026531836]"
# GPUs that share the host's memory; they are the only ones with these compute capabilities.
_UNIFIED_NAME = re.compile(r"\b(GB10|Orin|Thor|Xavier|Tegra)\b", re.IGNORECASE)
_UNIFIED_CAPABILITY = frozenset({"12.1", "8.7", "11.0", "7.2"})


def accelerators(answer: Answer, sight: Sight) -> tuple[Accelerator, ...]:
    """Return the devices, each with the reason why it cannot be used, if there is one."""
    gpus = answer.gpus or ()
    found: list[Accelerator] = []
    slices: list[Accelerator] = []
    for index, gpu in enumerate(gpus):
        fault = unusable_device(gpu.codes)
        if fault is None and gpu.slices is not None:
            fault = _split(gpu.slices)
        found.append(_accelerator(gpu, answer.driver, index, fault, sight))
        # Slices are numbered after all GPUs, whose indexes stay NVML's.
        slices += [
            _slice(part, found[-1], answer.driver, len(gpus) + len(slices) + slot, sight)
            for slot, part in enumerate(gpu.slices or ())
        ]
    return tuple(found + slices)


def _split(slices: tuple[Gpu, ...]) -> Fault:
    if slices:
        return Fault("it is split by MIG: a process is given a slice of it")
    return Fault(
        "MIG is on and has no slices",
        "make some (`nvidia-smi mig -lgip` lists what can be made), or turn MIG off with"
        " `nvidia-smi -mig 0`",
    )


def _slice(
    part: Gpu, whole: Accelerator, driver: str | None, index: int, sight: Sight
) -> Accelerator:
    fault = unusable_device(part.codes)
    if part.uuid is None:
        unnamed = "the driver would not tell its UUID, by which alone a slice is given"
        fault = fault or Fault(unnamed)
    found = _accelerator(part, driver, index, fault, sight)
    return replace(
        found,
        compute_capability=found.compute_capability or whole.compute_capability,
        pci=found.pci or whole.pci,
        ecc=whole.ecc if found.ecc is None else found.ecc,
        virtual=whole.virtual if found.virtual is None else found.virtual,
    )


def _accelerator(
    gpu: Gpu, driver: str | None, index: int, fault: Fault | None, sight: Sight
) -> Accelerator:
    unified = _unified(gpu)
    # A Jetson's driver calls every Orin "Orin".
    name = (jetson_name(sight) if unified else None) or gpu.name
    return Accelerator(
        vendor="nvidia",
        name=name or f"NVIDIA GPU {index}",
        index=index,
        uuid=gpu.uuid,
        memory_total_bytes=gpu.total_bytes,
        memory_free_bytes=gpu.free_bytes,
        memory_reserved_bytes=gpu.reserved_bytes,
        compute_capability=gpu.capability,
        driver=driver,
        unified_memory=unified,
        bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s,
        pci=gpu.pci,
        pcie_generation=gpu.pcie_generation,
        pcie_width=gpu.pcie_width,
        ecc=gpu.ecc,
        virtual=None if gpu.virtualization is None else gpu.virtualization == _VGPU,
        processes=tuple(_named(each, sight) for each in gpu.processes),
        usable=fault is None,
        unusable_reason=fault.text if fault else None,
        remedy=fault.remedy if fault else None,
    )


def _unified(gpu: Gpu) -> bool:
    """Say whether the GPU has no memory of its own: by what it is, if NVML did not fail."""
    if gpu.codes.get("memory", 0) not in (0, NOT_SUPPORTED) or "handle" in gpu.codes:
        return False
    known = _UNIFIED_NAME.search(gpu.name or "")
    return bool(known) or gpu.capability in _UNIFIED_CAPABILITY


def _named(process: DeviceProcess, sight: Sight) -> DeviceProcess:
    """Name a process that NVML does not, where its number is one of our /proc."""
    namespace = sight.link("/proc/self/ns/pid")
    if process.name or namespace not in (None, _FIRST_NAMESPACE):
        return process
    name = one_line(sight.text(f"/proc/{process.pid}/comm").strip())
    return replace(process, name=name[:_LONGEST_NAME] or None)
